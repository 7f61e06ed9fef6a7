"""What the endpoint's checkpoint can do, read from the metrics of the Truss server."""

from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from riffusion.datatypes import PRESETS

_METRIC = "riffusion_checkpoint_info"
_LORAS = "riffusion_lora"


def model_info(metrics: str) -> dict[str, Any]:
    """The response of `GET /info`.

    Args:
        metrics: in Prometheus' text format; empty if there are none.

    Returns:
        `presets`: the presets that the checkpoint is known to do. `distillation`: the numbers in
        the checkpoint's `distillation.json`; None if it is not distilled, or nothing is known.
        `loras`: ids that requests can name; left out if there are none. `unconditional`: True if
        the checkpoint takes no text, so that mode=unconditional is the only one; else left out.

    Raises:
        ValueError: the metrics are in another format.
    """
    ids = sorted({labels["id"] for labels in _labels(metrics, _LORAS)})  # of all replicas
    return _checkpoint_info(metrics) | ({"loras": ids} if ids else {})


def _checkpoint_info(metrics: str) -> dict[str, Any]:
    labels = next(iter(_labels(metrics, _METRIC)), {})
    if labels.get("unconditional") == "true":
        return {"presets": [], "distillation": None, "unconditional": True}
    if labels.get("distilled") != "true":
        return {"presets": [name for name in PRESETS if name != "instant"], "distillation": None}
    is_guided = labels["guided_sampling"] == "true"
    return {
        "presets": list(PRESETS) if is_guided else ["instant"],
        "distillation": {
            "max_steps": int(labels["max_steps"]),
            "guidance": [float(labels["min_guidance"]), float(labels["max_guidance"])],
            "guided_sampling": is_guided,
        },
    }


def _labels(metrics: str, name: str) -> list[dict[str, str]]:
    """Labels of the samples of a metric."""
    return [
        dict(sample.labels)
        for family in text_string_to_metric_families(metrics)
        for sample in family.samples
        if sample.name == name
    ]
