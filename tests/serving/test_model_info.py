"""What the gateway says about the checkpoint, from the metrics of the model's process."""

import prometheus_client
import pytest

from riffusion.checkpoint.distillation import PUBLISHED, Distillation
from riffusion.serving.gateway.model_info import model_info
from riffusion.serving.model.metrics import show_checkpoint
from tests.serving.backends import Backend, say
from tests.serving.gateways import CLIP, gateway_to

DUAL = Distillation(max_steps=6, guidance=(1.5, 10.0), guided_sampling=True)
USUAL = ["fast", "balanced", "reference"]
CASES = [
    (None, USUAL, None),
    (
        DUAL,
        ["instant", *USUAL],
        {"max_steps": 6, "guidance": [1.5, 10.0], "guided_sampling": True},
    ),
    (
        PUBLISHED,
        ["instant"],
        {"max_steps": 8, "guidance": [1.0, 14.0], "guided_sampling": False},
    ),
]


@pytest.mark.parametrize(("distillation", "presets", "numbers"), CASES)
def test_info_is_what_the_metrics_say(
    distillation: Distillation | None, presets: list[str], numbers: dict[str, object] | None
) -> None:
    show_checkpoint(distillation)
    metrics = prometheus_client.generate_latest()
    with (
        Backend(say(CLIP), get=say(metrics, media_type="text/plain")) as backend,
        gateway_to(f"{backend.url}/v1/models/model:predict") as client,
    ):
        answer = client.get("/info")
    assert answer.status_code == 200
    assert answer.json() == {"presets": presets, "distillation": numbers}


@pytest.mark.parametrize("content", [b"not { metrics", b'riffusion_checkpoint_info{x="\xff"} 1\n'])
def test_metrics_of_another_server_are_502(content: bytes) -> None:
    with (
        Backend(say(CLIP), get=say(content, media_type="text/plain")) as backend,
        gateway_to(f"{backend.url}/v1/models/model:predict") as client,
    ):
        answer = client.get("/info")
    assert answer.status_code == 502
    assert "can't be read" in answer.json()["error"]


def test_an_older_server_has_the_usual_presets() -> None:
    assert model_info("riffusion_live_jobs 0.0\n") == {"presets": USUAL, "distillation": None}


def test_a_hosted_endpoint_does_not_say() -> None:
    with gateway_to("https://model.example/production/predict") as client:
        answer = client.get("/info")
    assert answer.status_code == 404
    assert list(answer.json()) == ["error"]
