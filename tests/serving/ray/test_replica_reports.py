"""The reports of replicas, by a router that is played here; none of this needs Ray."""

import gc
from types import SimpleNamespace
from typing import Any

from riffusion.serving.ray.replica_reports import add_router, replica_reports


class PlayedRouter:
    """Knows replicas by name, with their reports."""

    def __init__(self, **reports: dict[str, object]) -> None:
        self.curr_replicas: dict[Any, Any] = {
            object(): SimpleNamespace(
                replica_id=SimpleNamespace(unique_id=name), routing_stats=report
            )
            for name, report in reports.items()
        }


def test_reports_are_those_of_the_newest_router_while_it_lives() -> None:
    assert replica_reports("app", "clips") == {}
    first = PlayedRouter(a={"pid": 1})
    add_router("app", "clips", first)
    newest = PlayedRouter(a={"pid": 1}, b={})
    add_router("app", "clips", newest)
    assert replica_reports("app", "clips") == {"a": {"pid": 1}, "b": {}}
    assert replica_reports("app", "ingress") == {}
    del newest
    gc.collect()
    assert replica_reports("app", "clips") == {}
