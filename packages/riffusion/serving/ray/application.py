"""The Serve application: replicas of the service, and the ingress in front of them.

    serve run deploy/ray/serve.yaml

The numbers here are for a laptop. A configuration file, such as deploy/ray/serve.yaml, overrides
them by the names of the deployments, `clips` and `ingress`.
"""

import os
from collections.abc import Mapping
from typing import Any, cast

import ray
from fastapi import FastAPI
from ray import serve
from ray.exceptions import (
    NodeDiedError,
    ObjectLostError,
    OwnerDiedError,
    RayActorError,
    RayTaskError,
    WorkerCrashedError,
)
from ray.serve.config import RequestRouterConfig
from ray.serve.exceptions import (
    BackPressureError,
    DeploymentUnavailableError,
    ReplicaUnavailableError,
)
from ray.serve.handle import DeploymentHandle

from riffusion.serving.model.request_body import InferenceRequest
from riffusion.serving.ray.clip_call import Call
from riffusion.serving.ray.ingress import create_ingress
from riffusion.serving.ray.lora_router import LoraRouter
from riffusion.serving.ray.replica import ClipReplica
from riffusion.serving.ray.replica_reports import replica_reports

_LOST = (
    RayActorError,
    NodeDiedError,
    ObjectLostError,
    OwnerDiedError,
    ReplicaUnavailableError,
    WorkerCrashedError,
)
REPORT_PERIOD_S = 5.0
"""Metrics are this old at most, as long as the replica has processor time."""


class Clips(ClipReplica):
    """`ClipReplica` that reports its metrics and its place."""

    async def record_routing_stats(self) -> dict[str, object]:
        """Metrics page, node and process id, for `replica_reports`. Serve calls it by this name."""
        node = ray.get_runtime_context().get_node_id()
        return {"metrics": await self.metrics(), "node": node, "pid": os.getpid()}


class ServeReplicas:
    """`ingress.Replicas` by a Serve handle."""

    def __init__(self, handle: "DeploymentHandle[Any]") -> None:
        self._names = handle.app_name, handle.deployment_name
        self._predict = handle.options(method_name="predict", stream=True)

    def start(self, inputs: InferenceRequest, headers: Mapping[str, str]) -> Call:
        return cast(Call, self._predict.remote(inputs, headers))

    def reports(self) -> dict[str, Mapping[str, Any]]:
        """The last report of each replica, by its name; empty for one that has just begun."""
        return replica_reports(*self._names)

    def metrics(self) -> dict[str, str]:
        return {name: report.get("metrics", "") for name, report in self.reports().items()}

    def is_lost(self, error: BaseException) -> bool:
        return isinstance(error, _LOST) and not isinstance(error, RayTaskError)

    def is_full(self, error: BaseException) -> bool:
        return isinstance(error, BackPressureError | DeploymentUnavailableError)


class _Ingress:
    """Serve calls `__serve_build_asgi_app__` in the process that serves the application."""

    def __init__(self, clips: "DeploymentHandle[Any]") -> None:
        self._clips = clips

    def __serve_build_asgi_app__(self) -> FastAPI:
        return create_ingress(ServeReplicas(self._clips))


clips = serve.deployment(Clips).options(
    name="clips",
    request_router_config=RequestRouterConfig(
        request_router_class=LoraRouter, request_routing_stats_period_s=REPORT_PERIOD_S
    ),
    ray_actor_options={"num_cpus": 1},
    max_ongoing_requests=16,  # at most RIFFUSION_MAX_LIVE + RIFFUSION_MAX_WAITING
    max_queued_requests=32,
    autoscaling_config={"min_replicas": 1, "max_replicas": 2, "target_ongoing_requests": 8},
    graceful_shutdown_timeout_s=120.0,
    graceful_shutdown_wait_loop_s=1.0,
    health_check_period_s=10.0,
)
ingress = serve.deployment(serve.ingress()(_Ingress)).options(
    name="ingress",
    ray_actor_options={"num_cpus": 0.1},
    max_ongoing_requests=512,  # more than can run and wait, so that refusals are ours
    graceful_shutdown_timeout_s=130.0,
)
application = ingress.bind(clips.bind())
