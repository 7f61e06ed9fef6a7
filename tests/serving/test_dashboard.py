"""deploy/grafana and deploy/prometheus ask for nothing that the server doesn't show."""

import json
import re
from collections import defaultdict
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from riffusion.serving.local.truss_server import LocalTrussServer

DEPLOY = Path(__file__).parents[2] / "deploy"
OF_PROMETHEUS = {"job", "instance"}
"""Labels that Prometheus adds to every metric that it collects."""
NOT_METRICS = {"by", "without", "on", "ignoring", "and", "or", "unless", "offset", "bool"}

_NAME = r"[a-zA-Z_][a-zA-Z0-9_]*"
_STRING = r'"[^"]*"'
_GROUPING = r"\b(?:by|without|on|ignoring)\s*\(([^)]*)\)"
_SELECTOR = rf"({_NAME})\s*\{{([^}}]*)\}}"


def dashboard() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((DEPLOY / "grafana/riffusion.json").read_text())
    return loaded


def alerts() -> list[dict[str, Any]]:
    loaded = yaml.safe_load((DEPLOY / "prometheus/alerts.yaml").read_text())
    return [rule for group in loaded["groups"] for rule in group["rules"]]


def panels() -> list[dict[str, Any]]:
    return [panel for panel in dashboard()["panels"] if panel["type"] != "row"]


def expressions() -> list[str]:
    shown = [target["expr"] for panel in panels() for target in panel["targets"]]
    return shown + [rule["expr"] for rule in alerts()]


def metrics_in(expression: str) -> set[str]:
    """Names of the metrics that a PromQL expression reads."""
    left = re.sub(_STRING, "", expression)
    for part in (r"\{[^}]*\}", r"\[[^]]*\]", _GROUPING):
        left = re.sub(part, " ", left)
    return set(re.findall(rf"(?<![\w$])({_NAME})\b(?!\s*\()", left)) - NOT_METRICS


def labels_in(expression: str) -> set[str]:
    """Names of the labels by which a PromQL expression selects and groups."""
    matchers = re.findall(_SELECTOR, re.sub(_STRING, '""', expression))
    selected = {
        name for _, matched in matchers for name in re.findall(rf"({_NAME})\s*[=!]", matched)
    }
    grouped = {
        name for names in re.findall(_GROUPING, expression) for name in re.findall(_NAME, names)
    }
    return selected | grouped


def test_what_an_expression_reads_is_found() -> None:
    expression = (
        'histogram_quantile(0.95, sum by (le, stage) (rate(a_bucket{stage="b{c}", x!~"$y"}[5m])))'
        " / ignoring(z) avg_over_time(d[$__rate_interval]) > 2e3 or e offset 5m"
    )
    assert metrics_in(expression) == {"a_bucket", "d", "e"}
    assert labels_in(expression) == {"le", "stage", "x", "z"}


@pytest.fixture(scope="module")
def exposed(
    truss_server: LocalTrussServer, client: httpx.Client, good_answer: httpx.Response
) -> dict[str, set[str]]:
    """The labels of each metric that the server shows after a clip; those of a GPU have none."""
    assert good_answer.status_code == 200
    labels: defaultdict[str, set[str]] = defaultdict(set)
    for family in text_string_to_metric_families(
        client.get(f"{truss_server.base_url}/metrics/").text
    ):
        labels[family.name]
        for sample in family.samples:
            labels[sample.name] |= sample.labels.keys()
    return labels


ON_A_GPU = {
    "riffusion_gpu_memory_bytes": {"state"},
    "riffusion_cuda_graphs": {"state"},
    "riffusion_unet_calls": {"way"},
}
"""Metrics that have values on a GPU only, and their labels."""


def test_every_metric_and_label_exists(exposed: dict[str, set[str]]) -> None:
    assert len(expressions()) > 20
    for expression in expressions():
        names = metrics_in(expression)
        assert names, expression
        assert names <= exposed.keys(), expression
        labels = set().union(*(exposed[name] | ON_A_GPU.get(name, set()) for name in names))
        assert labels_in(expression) <= labels | OF_PROMETHEUS, expression


def test_every_metric_of_ours_is_on_the_dashboard(exposed: dict[str, set[str]]) -> None:
    read = set().union(*map(metrics_in, expressions()))
    left_out = {"riffusion_checkpoint", "riffusion_lora"}  # what the checkpoint can do: for /info
    for name in exposed:
        is_ours = name.startswith("riffusion_") and not name.startswith("riffusion_process_")
        base = re.sub(r"_(total|bucket|sum|count|info)$", "", name)
        if is_ours and base not in left_out:
            assert any(metric.startswith(base) for metric in read), name


def test_legends_name_labels_that_their_expressions_keep() -> None:
    for panel in panels():
        for target in panel["targets"]:
            named = set(re.findall(rf"\{{\{{({_NAME})\}}\}}", target["legendFormat"]))
            kept = re.findall(r"by \(([^)]*)\)", target["expr"])
            assert all(named <= set(names.split(", ")) for names in kept), panel["title"]
            assert kept or not named, panel["title"]


def test_panels_have_a_place_of_their_own_and_a_source_that_one_can_choose() -> None:
    cells: set[tuple[int, int]] = set()
    for panel in dashboard()["panels"]:
        at = panel["gridPos"]
        own = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert at["x"] + at["w"] <= 24
        assert not cells & own, panel["title"]
        cells |= own
    assert len({panel["id"] for panel in dashboard()["panels"]}) == len(dashboard()["panels"])
    variables = {variable["name"] for variable in dashboard()["templating"]["list"]}
    used = set(re.findall(r"\$\{?(\w+)", json.dumps(panels()))) - {"__rate_interval"}
    assert used == variables
    for panel in panels():
        assert panel["datasource"]["uid"] == "${datasource}"
        assert panel["description"]


def test_alerts_say_what_to_do() -> None:
    assert len({rule["alert"] for rule in alerts()}) == len(alerts())
    for rule in alerts():
        assert rule["labels"]["severity"] in ("critical", "warning")
        assert ";" in rule["annotations"]["summary"] or "doubles" in rule["annotations"]["summary"]
