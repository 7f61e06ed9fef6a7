"""Serve's router for the replicas: by LoRAs where a request has some, else by the shorter queue.

Serve sends this module's code to processes by value, so it has no variables of its own.
"""

import random
from typing import Any

from ray.serve.request_router import PendingRequest, RequestRouter, RunningReplica

from riffusion.datatypes import InferenceInput
from riffusion.serving.ray.affinity import lora_group, preferred_replica
from riffusion.serving.ray.replica_reports import add_router


class LoraRouter(RequestRouter):  # type: ignore[misc]
    """Sends a request to the replica of its group, if that has room.

    Otherwise to that of two random ones whose queue is shorter (Mitzenmacher 2001), which is also
    Serve's own rule. A full replica thus delays nobody: others take over its groups meanwhile.
    """

    def __init__(self, deployment_id: Any, *arguments: Any, **options: Any) -> None:
        super().__init__(deployment_id, *arguments, **options)
        add_router(deployment_id.app_name, deployment_id.name, self)

    async def choose_replicas(
        self,
        candidate_replicas: list[RunningReplica],
        pending_request: PendingRequest | None = None,
    ) -> list[list[RunningReplica]]:
        """Replicas in the order in which Serve asks them for room."""
        if not candidate_replicas:
            return []
        any_two = random.sample(candidate_replicas, min(2, len(candidate_replicas)))
        if pending_request is None:
            return [any_two]
        pending_request.routing_context.should_backoff = True  # else it asks without a pause
        if not (group := _group_of(pending_request)):
            return [any_two]
        by_name = {replica.replica_id.unique_id: replica for replica in candidate_replicas}
        return [[by_name[preferred_replica(group, by_name)]], any_two]


def _group_of(pending_request: PendingRequest) -> str:
    """The group of a call of `predict`; empty for calls of other methods."""
    inputs = pending_request.args[0] if pending_request.args else None
    return lora_group(inputs.loras) if isinstance(inputs, InferenceInput) else ""
