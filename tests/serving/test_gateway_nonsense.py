"""The gateway in front of endpoints that send neither a clip nor an error, or break off."""

import json

import pytest

from tests.serving.backends import Backend, Play, break_off, hang_up, say
from tests.serving.gateways import REQUEST, gateway_to


@pytest.mark.parametrize(
    "play",
    [
        say(b"<html>502 Bad Gateway</html>", 502, "text/html"),
        say(b"<html>hello</html>", 200, "text/html"),
        say(b"", 200),
        say(b"[1, 2]", 200),
        say(b'{"image": ', 200),
        say(b'{"detail": "no error here"}', 500),
        say(b"[" * 100_000),
        say(b"no gzip at all", 200, Content_Encoding="gzip"),
        say(b'{"error": "\xff"}', 500),
        say(b"", 304),
        say(b"{}", 302, Location="http://127.0.0.1:1/"),
        hang_up,
        break_off(b'{"image": ', "application/json"),
    ],
    ids=[
        "error page", "page", "empty", "array", "half an object", "no error", "nested", "not gzip",
        "not UTF-8", "not modified", "redirect", "hang up", "break off",
    ],
)  # fmt: skip
def test_nonsense_is_502(play: Play) -> None:
    with Backend(play) as backend, gateway_to(backend.url) as client:
        answer = client.post("/run_inference/", content=REQUEST)
    assert answer.status_code == 502
    assert list(answer.json()) == ["error"]
    assert "endpoint" in answer.json()["error"]
    assert len(backend.requests) == 1  # the endpoint may have worked on it, so it isn't repeated


PROGRESS = b'{"event": "progress", "step": 1, "steps": 2}\n'


@pytest.mark.parametrize(
    ("play", "num_events"),
    [
        (say(b"no gzip at all", 200, "application/x-ndjson", Content_Encoding="gzip"), 0),
        (break_off(b""), 0),
        (break_off(PROGRESS), 1),
        (break_off(PROGRESS + b'{"event": "resu'), 1),
    ],
    ids=["not gzip", "before the first event", "between events", "within an event"],
)
def test_a_stream_that_breaks_off_ends_with_an_error(play: Play, num_events: int) -> None:
    with Backend(play) as backend, gateway_to(backend.url) as client:
        answer = client.post("/run_inference/", content=REQUEST)
    lines = [line for line in answer.text.splitlines() if line]
    assert lines[:num_events] == [PROGRESS.decode().strip()] * num_events
    last = json.loads(lines[-1])
    assert (answer.status_code, last["event"]) == (200, "error")
    assert last["error"]
    assert len(backend.requests) == 1
