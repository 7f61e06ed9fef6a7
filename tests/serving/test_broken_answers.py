"""Endpoints that are slow without end, break off, or send something else than they should."""

import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest

from riffusion.errors import EndpointError
from riffusion.serving.client import Endpoint
from riffusion.serving.gateway.reverse_proxy import NDJSON
from tests.patience import PATIENCE_S
from tests.serving.backends import Backend, Play, break_off, say
from tests.serving.gateways import REQUEST, gateway_to

PAYLOAD: dict[str, Any] = {"start": {"prompt": "bells", "seed": 1}}
PROGRESS = b'{"event": "progress", "step": 1, "steps": 2}\n'
RESULT = b'{"event": "result", "image": "data:,", "audio": "data:,", "duration_s": 1.0}\n'
TIMEOUT_S = 0.5
BYTE_S = 0.1
"""Below `TIMEOUT_S`, so that no single read takes too long."""
MAX_BYTES = 300
"""After this number of bytes a backend gives up, and a test fails: 60 times the limit."""
JSON = "application/json"


class Drip:
    """A backend's answer that arrives byte by byte without end, after a part that is sent at once.

    Args:
        head: sent at once.
    """

    def __init__(self, head: bytes) -> None:
        self.head = head
        self.num_bytes = 0

    def __call__(self, handler: BaseHTTPRequestHandler) -> None:
        handler.close_connection = True
        try:
            handler.wfile.write(self.head)
            while self.num_bytes < MAX_BYTES:
                handler.wfile.write(b" ")
                self.num_bytes += 1
                time.sleep(BYTE_S)
        except OSError:
            pass  # the client has left


def head(media_type: str, status: int = 200, length: bool = True) -> bytes:
    lines = f"HTTP/1.1 {status} Status\r\nContent-Type: {media_type}\r\n"
    return (lines + ("Content-Length: 1000\r\n\r\n" if length else "\r\n")).encode()


DRIPS = [
    b"HTTP/1.1 200 OK\r\nX-Header: ",
    head(JSON),
    head(JSON, length=False),  # ends where the connection ends
    head(JSON, 500),
    head(NDJSON),
    head(NDJSON, length=False) + PROGRESS,
]


def predict(endpoint: Endpoint) -> None:
    endpoint.predict(PAYLOAD)


def stream(endpoint: Endpoint) -> None:
    list(endpoint.stream(PAYLOAD))


@pytest.mark.parametrize("call", [predict, stream])
@pytest.mark.parametrize("start", DRIPS)
def test_the_clients_timeout_bounds_the_whole_answer(
    call: Callable[[Endpoint], None], start: bytes
) -> None:
    drip = Drip(start)
    with Backend(drip) as backend, pytest.raises(EndpointError) as caught:
        call(Endpoint(backend.url, timeout_s=TIMEOUT_S, retry_budget_s=0))
    assert f"did not answer within {TIMEOUT_S:g} s" in str(caught.value)
    assert caught.value.status == 504
    assert drip.num_bytes < MAX_BYTES


@pytest.mark.parametrize("start", DRIPS)
def test_the_gateways_timeout_bounds_the_whole_answer(start: bytes) -> None:
    drip = Drip(start)
    with Backend(drip) as backend, gateway_to(backend.url, timeout_s=TIMEOUT_S) as client:
        answer = client.post("/run_inference/", content=REQUEST)
    message = json.loads(answer.content.splitlines()[-1])["error"]
    assert f"did not answer within {TIMEOUT_S:g} s" in message
    assert answer.status_code == (200 if NDJSON.encode() in start else 504)
    assert drip.num_bytes < MAX_BYTES


def test_a_stream_may_take_longer_than_the_timeout_in_all() -> None:
    def play(handler: BaseHTTPRequestHandler) -> None:
        handler.close_connection = True
        handler.wfile.write(head(NDJSON, length=False))
        for line in (*[PROGRESS] * 4, RESULT):
            time.sleep(0.4)
            handler.wfile.write(line)

    with Backend(play) as backend, gateway_to(backend.url, timeout_s=1.2) as client:

        def events(url: str) -> list[str]:
            found = []
            for event in Endpoint(url, timeout_s=1.2).stream(PAYLOAD):
                found.append(event["event"])
                if len(found) == 2:
                    time.sleep(1.4)  # the reader's own time does not count
            return found

        with ThreadPoolExecutor() as threads:  # both at once
            both = list(threads.map(events, (backend.url, str(client.base_url))))
    assert both == [["progress"] * 4 + ["result"]] * 2


def test_the_delay_before_another_attempt_is_not_part_of_the_answers_time() -> None:
    """The endpoint asks for a longer delay than its answer may take."""
    busy = say(b'{"error": "busy"}', 503, Retry_After="5")
    with Backend(busy, say(RESULT)) as backend:
        predict(Endpoint(backend.url, timeout_s=4, retry_budget_s=PATIENCE_S))
    assert len(backend.requests) == 2


def stops_in(content: bytes, media_type: str = NDJSON) -> Play:
    """A response without a length that stops after `content`."""

    def play(handler: BaseHTTPRequestHandler) -> None:
        handler.close_connection = True
        handler.wfile.write(head(media_type, length=False) + content)

    return play


BROKEN_STREAMS = [
    break_off(b""),
    break_off(PROGRESS),
    break_off(PROGRESS + RESULT[:40]),
    break_off(PROGRESS + b'{"event": "result", "image": "caf\xc3'),
    stops_in(PROGRESS),
    stops_in(PROGRESS + RESULT[:40]),
    stops_in(PROGRESS + b"\n" + PROGRESS + b"<html>\n" + PROGRESS),
    stops_in(PROGRESS + b"[1]\n"),
    say(b"", 200, NDJSON),
    say(PROGRESS, 200, NDJSON),
]


@pytest.mark.parametrize("play", BROKEN_STREAMS)
def test_a_broken_stream_ends_in_an_error_line(play: Play) -> None:
    with Backend(play) as backend, gateway_to(backend.url) as client:
        answer = client.post("/run_inference/", content=REQUEST)
        assert answer.status_code == 200
        assert answer.content.endswith(b"\n")
        *others, last = [json.loads(line) for line in answer.content.decode().split("\n")[:-1]]
        assert all(other == json.loads(PROGRESS) for other in others)
        assert last["event"] == "error"
        assert "broke off" in last["error"] or "without a result" in last["error"]
        with pytest.raises(EndpointError, match=r"broke off|without a result"):
            stream(Endpoint(str(client.base_url)))


@pytest.mark.parametrize(
    "play", [play for play in BROKEN_STREAMS if play not in (BROKEN_STREAMS[0], BROKEN_STREAMS[8])]
)
def test_the_client_says_that_a_stream_broke_off(play: Play) -> None:
    with (
        Backend(play) as backend,
        pytest.raises(EndpointError, match=r"broke off|without a result"),
    ):
        stream(Endpoint(backend.url))


@pytest.mark.parametrize(
    "content",
    [
        PROGRESS + RESULT,
        PROGRESS + RESULT[:-1],
        b"\n" + PROGRESS + b"\n\n" + RESULT,
        RESULT,
        PROGRESS + b'{"event": "error", "error": "start: bad"}\n',
    ],
)
def test_a_whole_stream_is_passed_on_unchanged(content: bytes) -> None:
    with Backend(stops_in(content)) as backend, gateway_to(backend.url) as client:
        answer = client.post("/run_inference/", content=REQUEST)
    expected = [line for line in content.split(b"\n") if line]
    assert answer.content == b"".join(line + b"\n" for line in expected)


@pytest.mark.parametrize("call", [predict, stream])
@pytest.mark.parametrize(
    ("play", "message"),
    [
        (lambda handler: handler.wfile.write(head(JSON, 500) + b'{"error": '), "broke off"),
        (
            lambda handler: handler.wfile.write(
                b"HTTP/1.1 500 Status\r\nTransfer-Encoding: chunked\r\n\r\nnonsense"
            ),
            "broke off",
        ),
        (
            lambda handler: handler.wfile.write(
                b"HTTP/1.1 500 Status\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nnope"
            ),
            "broke off",
        ),
        (say(b"nope", 500, "text/plain; charset=zip"), "status 500: nope"),
        (say(b"nope", 500, "text/plain; charset=rot13"), "status 500: nope"),
        (say(b"[" * 100_000, 500), "status 500"),
        (say(b"\xff", 500), "status 500: \ufffd"),
    ],
)
def test_an_error_that_cannot_be_read_keeps_its_status(
    call: Callable[[Endpoint], None], play: Play, message: str
) -> None:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.close_connection = True
        play(handler)

    with Backend(answer) as backend, pytest.raises(EndpointError, match=message) as caught:
        call(Endpoint(backend.url))
    assert caught.value.status == 500
