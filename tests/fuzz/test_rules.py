"""The fuzz' own rules: each fault is seen, and what is right isn't one."""

import json

import httpx
import pytest

from riffusion.serving.model.clip_job import INTERNAL_ERROR
from tests.fuzz.requests import FuzzRequest, cheap
from tests.fuzz.rules import MAX_ANSWER_S, fault_of
from tests.fuzz.usage import rise

GOOD = {"start": {"prompt": "bells", "seed": 1}}
CLIP = {"image": "data:,", "audio": "data:,", "duration_s": 5.12}
ERROR = {"error": "alpha: must be at most 1"}
PROGRESS = b'{"event": "progress", "step": 1, "steps": 2}\n'


def fault(
    answer: object,
    status: int = 200,
    kind: str = "application/json",
    body: object = GOOD,
    seconds: float = 0.1,
    **headers: str,
) -> str | None:
    content = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
    request = FuzzRequest(json.dumps(body).encode(), {"Content-Type": "application/json"})
    sent = httpx.Headers({"content-type": kind, **headers})
    return fault_of(request, status, sent, content, seconds)


def test_right_answers() -> None:
    assert fault(CLIP) is None
    assert fault(ERROR, 400) is None
    assert fault(ERROR, 504) is None
    assert fault(ERROR, 503, **{"retry-after": "1"}) is None
    result = json.dumps({"event": "result", **CLIP}).encode()
    assert fault(PROGRESS + result + b"\n", kind="application/x-ndjson") is None


@pytest.mark.parametrize("status", [500, 501, 502, 505])
def test_other_failures_of_the_server(status: int) -> None:
    assert f"status {status}" in (fault(ERROR, status) or "")


def test_every_fault_is_seen() -> None:
    assert "took" in (fault(CLIP, seconds=MAX_ANSWER_S + 1) or "")
    assert "without Retry-After" in (fault(ERROR, 503) or "")
    assert "not in the schema" in (fault(ERROR, 418) or "")
    assert "not valid" in (fault(CLIP, body={**GOOD, "alpha": 2}) or "")
    assert "not a clip" in (fault({"image": "data:,"}) or "")
    assert "not JSON" in (fault(b"{", 400) or "")
    assert "another shape" in (fault({"detail": "no"}, 400) or "")
    assert "of type" in (fault(ERROR, 400, "text/html") or "")
    assert "characters" in (fault({"error": "x" * 2000}, 400) or "")
    assert "insides" in (fault({"error": "no file /tmp/riffusion-server-x/app"}, 400) or "")
    assert "without an end" in (fault(PROGRESS, kind="application/x-ndjson") or "")
    assert "not an event" in (fault(b"{}\n", kind="application/x-ndjson") or "")
    internal = {"event": "error", "error": INTERNAL_ERROR}
    assert "internal error" in (fault(internal, kind="application/x-ndjson") or "")


def test_what_is_valid_is_made_cheap_and_the_rest_stays_as_it_is() -> None:
    assert cheap({**GOOD, "num_inference_steps": 150}, draws=False)["num_inference_steps"] == 2
    assert cheap(GOOD, draws=True)["deadline_s"] == 20.0
    invalid = {**GOOD, "alpha": 2}
    assert cheap(invalid, draws=False) is invalid
    assert cheap([1], draws=False) == [1]


def test_the_rise_of_a_line() -> None:
    noise = (0.5, -0.5, -0.5, 0.5)
    points = [(10.0 + i, 100.0 + 2.0 * i + noise[i % 4]) for i in range(101)]
    assert rise(points) == pytest.approx(200.0, abs=0.5)
    assert rise([(t, 7.0) for t, _ in points]) == pytest.approx(0.0, abs=1e-9)
    assert rise(points[:2]) == 0.0
