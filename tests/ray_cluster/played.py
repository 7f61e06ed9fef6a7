"""Replicas that make no clips but say who they are, to see which requests Serve sends to which."""

import asyncio
from collections.abc import Callable, Mapping
from types import MappingProxyType

from ray import serve
from ray.serve.config import RequestRouterConfig

from riffusion.datatypes import InferenceInput
from riffusion.serving.model.request_body import InferenceRequest
from riffusion.serving.ray.application import Clips, ServeReplicas
from riffusion.serving.ray.lora_router import LoraRouter
from tests.ray_cluster.groups import LORAS, NUM_REPLICAS, NUM_REQUESTS


class PlayedService:
    """Stands in for `ClipService`."""

    async def submit(self, _: InferenceInput) -> "PlayedService":
        return self

    async def result(self, _: Callable[[], bool]) -> "PlayedService":
        return self

    def model_dump(self) -> dict[str, str]:
        """The answer, in place of an `InferenceOutput`."""
        return {"replica": serve.get_replica_context().replica_id.unique_id}

    def stop(self) -> None:
        """Nothing runs."""

    timings_s: Mapping[str, float] = MappingProxyType({})
    is_healthy = True


class PlayedClips(Clips):
    """Replicas with that service."""

    def __init__(self) -> None:
        super().__init__(PlayedService())  # type: ignore[arg-type]


def replicas_by_loras() -> dict[str, list[str]]:
    """Names of the replicas that answer, by name of their LoRAs; deployed at the first call."""
    name = "played"
    if name not in serve.status().applications:
        deployment = serve.deployment(PlayedClips).options(
            name=name,
            num_replicas=NUM_REPLICAS,
            ray_actor_options={"num_cpus": 0.1},
            request_router_config=RequestRouterConfig(request_router_class=LoraRouter),
        )
        serve.run(deployment.bind(), name=name, route_prefix=None)
    replicas = ServeReplicas(serve.get_app_handle(name))
    return asyncio.run(_answers(replicas))


async def _answers(replicas: ServeReplicas) -> dict[str, list[str]]:
    found: dict[str, set[bytes]] = {group: set() for group in LORAS}
    for _ in range(NUM_REQUESTS):
        for group, loras in LORAS.items():
            start = {"prompt": "bells", "seed": 1}
            inputs = InferenceRequest.parse({"start": start, "loras": loras})
            _, *body = [part async for part in replicas.start(inputs, {})]
            found[group].update(part for part in body if isinstance(part, bytes))
    return {group: sorted(map(bytes.decode, bodies)) for group, bodies in found.items()}
