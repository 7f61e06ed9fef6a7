"""What replicas report of themselves: every few seconds, by Serve's controller, to each router.

It is the way to their metrics. A call would wait until the replica has room, which one that is busy
with clips doesn't have, and that is when its metrics matter most.
"""

import weakref
from collections.abc import Mapping
from typing import Any, Protocol


class Router(Protocol):
    """The part of `ray.serve.request_router.RequestRouter` that is used here."""

    @property
    def curr_replicas(self) -> Mapping[Any, Any]:
        """Running replicas."""
        ...


_ROUTERS: weakref.WeakValueDictionary[tuple[str, str], Router] = weakref.WeakValueDictionary()
"""Those of this process, by application and deployment."""


def add_router(app_name: str, deployment_name: str, router: Router) -> None:
    """Remember the newest router of a deployment, as long as it is in use."""
    _ROUTERS[app_name, deployment_name] = router


def replica_reports(app_name: str, deployment_name: str) -> dict[str, Mapping[str, Any]]:
    """The last report, `record_routing_stats`, of each running replica, by its name.

    A new replica's is empty at first. Nothing is known before this process has a `DeploymentHandle`
    of the deployment.
    """
    router = _ROUTERS.get((app_name, deployment_name))
    replicas = [] if router is None else list(router.curr_replicas.values())
    return {replica.replica_id.unique_id: replica.routing_stats for replica in replicas}
