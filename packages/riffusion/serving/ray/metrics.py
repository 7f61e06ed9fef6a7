"""One page of Prometheus metrics from those of all replicas, told apart by the label `replica`."""

from collections.abc import Iterable, Iterator, Mapping

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector


def merged_metrics(pages: Mapping[str, str]) -> bytes:
    """The page for all replicas; sums over `replica` are the figures of the whole cluster.

    Args:
        pages: each replica's page in Prometheus' text format, by its name.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Pages(pages))
    return generate_latest(registry)


class _Pages(Collector):
    """Shows the pages' samples with one more label."""

    def __init__(self, pages: Mapping[str, str]) -> None:
        self._pages = pages

    def collect(self) -> Iterator[Metric]:
        families: dict[str, Metric] = {}
        for replica, page in sorted(self._pages.items()):
            for family in text_string_to_metric_families(page):
                known = families.setdefault(
                    family.name, Metric(family.name, family.documentation, family.type)
                )
                known.samples.extend(
                    sample._replace(labels={**sample.labels, "replica": replica})
                    for sample in family.samples
                )
        return iter(families.values())

    def describe(self) -> Iterable[Metric]:
        return ()
