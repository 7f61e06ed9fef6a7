"""Answers that are too large or compressed, and messages for errors that have none."""

import gzip
import json
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest

from riffusion.errors import EndpointError
from riffusion.serving import answer_body
from riffusion.serving.client import Endpoint
from riffusion.serving.gateway import app, reverse_proxy
from riffusion.serving.gateway.reverse_proxy import NDJSON
from tests.serving.backends import Backend, say
from tests.serving.gateways import REQUEST, gateway_to

PAYLOAD: dict[str, Any] = {"start": {"prompt": "bells", "seed": 1}}
LIMIT_BYTES = 2**22
SOCKET_BYTES = 2**25
"""More than the buffers of both sockets hold."""
FLOOD_BYTES = 2**29
"""A backend gives up after this number of bytes."""
JSON = "application/json"


@pytest.fixture(autouse=True)
def low_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (answer_body, reverse_proxy):
        monkeypatch.setattr(module, "MAX_ANSWER_BYTES", LIMIT_BYTES)
    monkeypatch.setattr(answer_body, "_MAX_ERROR_BYTES", LIMIT_BYTES)
    monkeypatch.setattr(app, "_MAX_CHECK_BYTES", LIMIT_BYTES)


class Flood:
    """A backend's answer that never ends.

    Args:
        status, media_type: of the answer.
        chunk: what it repeats.
    """

    def __init__(self, status: int, media_type: str, chunk: bytes) -> None:
        self.status, self.media_type, self.chunk = status, media_type, chunk
        self.num_bytes = 0

    def __call__(self, handler: BaseHTTPRequestHandler) -> None:
        handler.close_connection = True
        handler.send_response(self.status)
        handler.send_header("Content-Type", self.media_type)
        handler.end_headers()
        try:
            while self.num_bytes < FLOOD_BYTES:
                handler.wfile.write(self.chunk)
                self.num_bytes += len(self.chunk)
        except OSError:
            pass  # the client has left


def predict(endpoint: Endpoint) -> None:
    endpoint.predict(PAYLOAD)


def stream(endpoint: Endpoint) -> None:
    list(endpoint.stream(PAYLOAD))


@pytest.mark.parametrize(
    ("call", "status", "media_type", "chunk"),
    [
        (predict, 200, JSON, b" " * 2**16),
        (predict, 200, JSON, b"\n" * 2**16),
        (stream, 200, NDJSON, b"a" * 2**16),
        (predict, 500, JSON, b" " * 2**16),
        (stream, 500, "text/html", b"<p>" * 2**15),
    ],
)
def test_the_client_stops_reading_above_the_limit(
    call: Callable[[Endpoint], None], status: int, media_type: str, chunk: bytes
) -> None:
    flood = Flood(status, media_type, chunk)
    expected = "status 500" if status == 500 else "larger than 4 MiB"
    with Backend(flood) as backend, pytest.raises(EndpointError, match=expected) as caught:
        call(Endpoint(backend.url))
    assert len(str(caught.value)) < 500
    assert flood.num_bytes < LIMIT_BYTES + SOCKET_BYTES


@pytest.mark.parametrize(
    ("status", "media_type", "chunk"),
    [(200, JSON, b" " * 2**16), (500, JSON, b"a" * 2**16), (200, NDJSON, b"a" * 2**16)],
)
def test_the_gateway_stops_reading_above_the_limit(
    status: int, media_type: str, chunk: bytes
) -> None:
    flood = Flood(status, media_type, chunk)
    with Backend(flood) as backend, gateway_to(backend.url) as client:
        answer = client.post("/run_inference/", content=REQUEST)
    assert answer.status_code == (200 if media_type == NDJSON else 502)
    assert "Riffusion endpoint" in json.loads(answer.content)["error"]
    assert flood.num_bytes < LIMIT_BYTES + SOCKET_BYTES


def test_the_gateway_reads_no_more_of_health_and_metrics() -> None:
    flood = Flood(200, "text/plain", b"a" * 2**16)
    with Backend(flood, get=flood) as backend, gateway_to(backend.url) as client:
        health, metrics = client.get("/health"), client.get("/metrics/")
    assert (health.status_code, metrics.status_code) == (503, 502)
    assert "larger than" in metrics.json()["error"]
    assert flood.num_bytes < 2 * (LIMIT_BYTES + SOCKET_BYTES)


BOMB = gzip.compress(bytes(2**27), 9, mtime=0)
"""130 kB that become 134 MB; compressed once more they are 400 bytes."""
BOMBS = [
    (BOMB, "gzip"),
    (gzip.compress(BOMB, mtime=0), "gzip, gzip"),
    (gzip.compress(b"{}", mtime=0), "x-gzip"),
]


@pytest.mark.parametrize("call", [predict, stream])
@pytest.mark.parametrize(("content", "encoding"), BOMBS)
@pytest.mark.parametrize("status", [200, 500])
def test_compressed_answers_are_not_unpacked(
    call: Callable[[Endpoint], None], content: bytes, encoding: str, status: int
) -> None:
    with (
        Backend(say(content, status, JSON, Content_Encoding=encoding)) as backend,
        pytest.raises(EndpointError, match=rf"compressed \({encoding}\)") as caught,
    ):
        call(Endpoint(backend.url))
    assert caught.value.status == (500 if status == 500 else 502)


@pytest.mark.parametrize(("content", "encoding"), BOMBS)
@pytest.mark.parametrize("media_type", [JSON, NDJSON])
def test_the_gateway_does_not_unpack_compressed_answers(
    content: bytes, encoding: str, media_type: str
) -> None:
    bomb = say(content, 200, media_type, Content_Encoding=encoding)
    with Backend(bomb, get=bomb) as backend, gateway_to(backend.url) as client:
        answer = client.post("/run_inference/", content=REQUEST)
        assert client.get("/health").status_code == 503
    assert answer.status_code == (200 if media_type == NDJSON else 502)
    assert f"compressed ({encoding})" in json.loads(answer.content)["error"]


def test_only_a_line_feed_ends_a_line() -> None:
    """U+2028 and others may stand in JSON text as they are."""
    text = "a\u2028b\u2029c\x85d\x1ce"
    events = [{"event": "progress", "step": 1, "steps": 1}, {"event": "result", "audio": text}]
    lines = "".join(json.dumps(event, ensure_ascii=False) + "\n" for event in events)
    content = lines.replace("\\u001c", "\x85").encode()
    with Backend(say(content, 200, NDJSON)) as backend, gateway_to(backend.url) as client:
        for url in (backend.url, str(client.base_url)):
            _, result = Endpoint(url).stream(PAYLOAD)
            assert result["audio"] == text.replace("\x1c", "\x85")


@pytest.mark.parametrize("call", [predict, stream])
@pytest.mark.parametrize(
    ("play", "message"),
    [
        (say(b"", 401), "answered with status 401; set RIFFUSION_API_KEY"),
        (say(b"{}", 403), "answered with status 403: {}; set RIFFUSION_API_KEY"),
        (say(b'{"detail": "Not Found"}', 404), "check the address"),
        (say(b'{"error": null}', 500), "answered with status 500: "),
        (say(b'{"error": ""}', 500), "answered with status 500: "),
        (
            say(b'{"error": {"code": 7}}', 500),
            'status 500: {"error": {"code": 7}}; look at its log',
        ),
        (say(b"<html>\n<h1>502</h1>\n</html>", 502, "text/html"), "status 502: <html> <h1>502"),
        (say(b"", 307, Location="ftp://evil.example/"), "redirects to ftp://evil.example/; use"),
        (say(b"x", 999), "answered with status 999: x"),
    ],
)
def test_an_error_without_a_message_names_endpoint_and_remedy(
    call: Callable[[Endpoint], None], play: Any, message: str
) -> None:
    with Backend(play) as backend, pytest.raises(EndpointError) as caught:
        call(Endpoint(backend.url))
    assert str(caught.value).startswith(f"endpoint={backend.url}")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(backend.requests) == 1
