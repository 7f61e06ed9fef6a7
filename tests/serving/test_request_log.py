"""One line per request, with an id that gateway and model share, and without prompts."""

import asyncio
import json
import logging
import re
from typing import Any

import httpx
import pytest

from riffusion.datatypes import InferenceInput, InferenceOutput, PromptInput
from riffusion.errors import (
    DeadlineExceededError,
    GenerationCancelled,
    GenerationError,
    InputError,
    OverloadedError,
    StorageFullError,
)
from riffusion.serving.client import JSON
from riffusion.serving.local.truss_server import LocalTrussServer
from riffusion.serving.model import clip_log
from riffusion.serving.request_id import begin_request, current_request_id
from riffusion.serving.request_log import JsonFormatter
from tests.patience import wait_until
from tests.serving.backends import Backend, say
from tests.serving.gateways import CLIP, REQUEST, gateway_to

PROMPT = "a private prompt"
INPUTS = InferenceInput(
    start=PromptInput(prompt=PROMPT, seed=1),
    end=PromptInput(prompt=PROMPT + "!", seed=2),
    alpha=0.5,
    num_inference_steps=3,
)
NEW_ID = r"[0-9a-f]{32}"
GATEWAY_LOG = "riffusion.serving.gateway.request_middleware"


def as_json(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    return [json.loads(JsonFormatter().format(record)) for record in caplog.records]


@pytest.mark.parametrize("given", ["a", "A-b_c.9", "x" * 64])
def test_a_well_formed_id_is_kept(given: str) -> None:
    assert begin_request(given) == current_request_id.get() == given


@pytest.mark.parametrize("given", [None, "", "x" * 65, "a b", "a\n", "ü", 'a"', "a/b"])
def test_any_other_id_is_replaced(given: str | None) -> None:
    first, second = begin_request(given), begin_request(given)
    assert first != second
    assert all(re.fullmatch(NEW_ID, request_id) for request_id in (first, second))


def test_a_finished_clip_is_a_line_of_numbers_and_names(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    begin_request("id-1")
    output = InferenceOutput(image="data:i", audio="data:au", duration_s=5.12)
    clip_log.log_done(INPUTS, output, {"waiting": 0.25, "audio": 0.123456}, 1.5)
    (line,) = as_json(caplog)
    assert line.pop("asctime")
    assert line == {
        "levelname": "INFO",
        "message": "clip mode=img2img seeds=1,2 alpha=0.5 prompt_characters=16,17 steps=3 "
        "total_s=1.50 waiting=0.25 audio=0.12",
        "request_id": "id-1",
        "outcome": "done",
        "mode": "img2img",
        "seeds": [1, 2],
        "alpha": 0.5,
        "prompt_characters": [16, 17],
        "steps": 3,
        "total_s": 1.5,
        "duration_s": 5.12,
        "image_characters": 6,
        "audio_characters": 7,
        "stages_s": {"waiting": 0.25, "audio": 0.1235},
    }


@pytest.mark.parametrize(
    ("error", "outcome", "level"),
    [
        (InputError(f"{PROMPT!r} is wrong", "start.prompt"), "invalid", "INFO"),
        (OverloadedError("8 clips wait", 2), "refused", "WARNING"),
        (StorageFullError(), "refused", "WARNING"),
        (DeadlineExceededError("not done within deadline_s=1"), "deadline", "INFO"),
        (GenerationCancelled("the client left"), "cancelled", "INFO"),
        (GenerationError("not finite"), "failed", "ERROR"),
        (RuntimeError(PROMPT), "failed", "ERROR"),
    ],
)
def test_each_failure_has_its_outcome_and_no_text_of_the_request(
    error: Exception, outcome: str, level: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    clip_log.log_failure(INPUTS, error, 0.5)
    (line,) = as_json(caplog)
    assert (line["outcome"], line["levelname"], line["total_s"]) == (outcome, level, 0.5)
    assert PROMPT not in json.dumps(line)
    assert line.get("field") == getattr(error, "field", None)


def test_an_id_belongs_to_its_task() -> None:
    async def begun(given: str) -> str | None:
        begin_request(given)
        await asyncio.sleep(0)
        return current_request_id.get()

    async def scenario() -> list[str | None]:
        return await asyncio.gather(*(begun(given) for given in "abc"))

    assert asyncio.run(scenario()) == ["a", "b", "c"]


@pytest.mark.parametrize("given", ["from-a-proxy", "no id", None])
def test_the_gateway_passes_the_id_on_and_sends_it_back(
    given: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="riffusion")
    headers = {"Content-Type": JSON} | ({} if given is None else {"X-Request-ID": given})
    with Backend(say(CLIP)) as backend, gateway_to(backend.url) as client:
        answer = client.post("/run_inference/", content=REQUEST, headers=headers)
        wait_until(lambda: any(r.name == GATEWAY_LOG for r in caplog.records), "no line")
    request_id = answer.headers["x-request-id"]
    if given == "from-a-proxy":
        assert request_id == given
    else:
        assert re.fullmatch(NEW_ID, request_id)
    ((_, sent, _),) = backend.requests
    assert sent["x-request-id"] == request_id
    (record,) = (record for record in caplog.records if record.name == GATEWAY_LOG)
    line = json.loads(JsonFormatter().format(record))
    assert line["request_id"] == request_id
    assert (line["status"], line["request_bytes"], line["response_bytes"]) == (
        200,
        len(REQUEST),
        len(CLIP),
    )
    assert line["message"].endswith(f" id={request_id}")


def test_the_model_knows_the_id_of_the_gateways_request(
    truss_server: LocalTrussServer, client: httpx.Client, good_request: dict[str, Any]
) -> None:
    for body, status in ((good_request, 200), ({**good_request, "seed_image_id": "no"}, 400)):
        headers = {"X-Request-ID": f"id-{status}"}
        answer = client.post(truss_server.predict_url, json=body, headers=headers)
        assert answer.status_code == status
        assert answer.headers["x-request-id"] == headers["X-Request-ID"]
