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
from ray.serve.exceptions import (
    BackPressureError,
    DeploymentUnavailableError,
    RayServeException,
    ReplicaUnavailableError,
)
from ray.serve.handle import DeploymentHandle

from riffusion.serving.model.request_body import InferenceRequest
from riffusion.serving.ray.clip_call import Call
from riffusion.serving.ray.ingress import create_ingress
from riffusion.serving.ray.replica import ClipReplica

_LOST = (
    RayActorError,
    NodeDiedError,
    ObjectLostError,
    OwnerDiedError,
    ReplicaUnavailableError,
    WorkerCrashedError,
)
_METRICS_TIMEOUT_S = 2.0
"""Less than the gateway waits for metrics."""


class _Clips(ClipReplica):
    """`ClipReplica` that tells its name and place."""

    async def named_metrics(self) -> tuple[str, str]:
        """Name of this replica, and its metrics."""
        return serve.get_replica_context().replica_id.unique_id, await self.metrics()

    async def location(self) -> tuple[str, int]:
        """Node and process id of this replica, to find it with a cluster's tools."""
        return ray.get_runtime_context().get_node_id(), os.getpid()


class _ServeReplicas:
    """`ingress.Replicas` by a Serve handle."""

    def __init__(self, handle: "DeploymentHandle[Any]") -> None:
        self._handle = handle
        self._predict = handle.options(method_name="predict", stream=True)

    def start(self, inputs: InferenceRequest, headers: Mapping[str, str]) -> Call:
        return cast(Call, self._predict.remote(inputs, headers))

    async def metrics(self) -> dict[str, str]:
        try:
            pages = await self._handle.broadcast("named_metrics").results_async(
                timeout_s=_METRICS_TIMEOUT_S, return_exceptions=True
            )
        except (TimeoutError, RayServeException):  # there is no replica
            return {}
        return dict(page for page in pages if not isinstance(page, BaseException))

    def is_lost(self, error: BaseException) -> bool:
        return isinstance(error, _LOST) and not isinstance(error, RayTaskError)

    def is_full(self, error: BaseException) -> bool:
        return isinstance(error, BackPressureError | DeploymentUnavailableError)


class _Ingress:
    """Serve calls `__serve_build_asgi_app__` in the process that serves the application."""

    def __init__(self, clips: "DeploymentHandle[Any]") -> None:
        self._clips = clips

    def __serve_build_asgi_app__(self) -> FastAPI:
        return create_ingress(_ServeReplicas(self._clips))


clips = serve.deployment(_Clips).options(
    name="clips",
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
