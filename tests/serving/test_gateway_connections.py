"""The gateway and connections that are silent, slow or reset."""

import contextlib
import socket
import struct
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler

import httpx
import pytest

from tests.serving.backends import Backend, say
from tests.serving.gateways import CLIP, PREDICT_HEAD, REQUEST, TIMEOUT_S, connect, gateway_to


@pytest.fixture
def client() -> Iterator[httpx.Client]:
    with Backend(say(CLIP)) as backend, gateway_to(backend.url) as client:
        yield client


@pytest.mark.parametrize(
    ("head", "status", "message"),
    [
        (PREDICT_HEAD, 408, b"did not arrive within 0.3 s"),
        (PREDICT_HEAD + b"Origin: https://evil.example\r\n", 403, b"is not allowed"),
        (b"POST /nowhere HTTP/1.1\r\nHost: gateway\r\n", 404, b"Not Found"),
        (b"POST /health HTTP/1.1\r\nHost: gateway\r\n", 405, b"Method Not Allowed"),
    ],
    ids=["predict", "foreign origin", "unknown path", "wrong method"],
)
def test_a_body_that_does_not_arrive_ends_with_its_connection(
    head: bytes,
    status: int,
    message: bytes,
    client: httpx.Client,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as patch, connect(client) as connection:
        patch.setattr("riffusion.serving.gateway.incoming_body.BODY_TIMEOUT_S", 0.3)
        connection.sendall(head + b"Content-Length: 1000000\r\n\r\nsome of it")
        answer = b"".join(iter(lambda: connection.recv(2**16), b""))  # or the test times out
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert b"connection: close" in answer.lower()
    assert b'{"error":' in answer
    assert message in answer
    assert client.post("/run_inference/", content=REQUEST).status_code == 200


def test_an_idle_connection_is_closed_after_its_response(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("riffusion.serving.local.gateway_server._KEEP_ALIVE_S", 0.1)
    with (
        Backend(say(CLIP)) as backend,
        gateway_to(backend.url) as client,
        connect(client) as connection,
    ):
        connection.sendall(b"GET /nowhere HTTP/1.1\r\nHost: gateway\r\n\r\n")
        answer = b"".join(iter(lambda: connection.recv(2**16), b""))  # or the test times out
    assert answer.startswith(b"HTTP/1.1 404 ")


def test_a_request_in_progress_is_not_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("riffusion.serving.local.gateway_server._KEEP_ALIVE_S", 0.1)

    def slow(handler: BaseHTTPRequestHandler) -> None:
        time.sleep(0.5)
        say(CLIP)(handler)

    def slow_body() -> Iterator[bytes]:
        yield REQUEST[:10]
        time.sleep(0.5)
        yield REQUEST[10:]

    with Backend(slow) as backend, gateway_to(backend.url) as client:
        for body in (REQUEST, slow_body(), REQUEST):
            headers = {"Connection": "close"}
            assert client.post("/run_inference/", content=body, headers=headers).content == CLIP


def test_beyond_the_limit_of_connections_requests_are_503_until_one_is_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("riffusion.serving.local.gateway_server._MAX_CONNECTIONS", 4)
    with Backend(say(CLIP)) as backend, gateway_to(backend.url) as client:
        with contextlib.ExitStack() as connections:
            for _ in range(4):
                connections.enter_context(connect(client))
            assert client.post("/run_inference/", content=REQUEST).status_code == 503
        deadline = time.monotonic() + TIMEOUT_S
        while client.post("/run_inference/", content=REQUEST).status_code != 200:
            assert time.monotonic() < deadline, "the closed connections still count"
            time.sleep(0.02)
    assert len(backend.requests) == 1


def test_connections_that_are_reset_do_no_harm(client: httpx.Client) -> None:
    for _ in range(20):
        connection = connect(client)
        linger = struct.pack("ii", 1, 0)  # close by a reset
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        connection.sendall(PREDICT_HEAD + b"Content-Length: 100\r\n\r\n{")
        connection.close()
    assert client.post("/run_inference/", content=REQUEST).status_code == 200
