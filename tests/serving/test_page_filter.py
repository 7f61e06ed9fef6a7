"""Who may use the local Truss server: the gateway and programs, but no web page."""

import http.client
import json
import socket
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from riffusion.serving.addresses import PREDICT_PATH
from riffusion.serving.client import Endpoint
from riffusion.serving.local.truss_server import LocalTrussServer
from tests.patience import wait_until
from tests.serving.conftest import free_port, write_mini_bundle
from tests.serving.gateways import gateway_to

BODY = json.dumps({"start": {"prompt": "bells", "seed": 1}})
TIMEOUT_S = 60.0
MODEL = """
import asyncio
import pathlib

from fastapi import Request

class Model:
    async def predict(self, inputs, request: Request):
        directory = pathlib.Path({directory!r})
        (directory / "worked").touch()
        with request.state.watch_disconnect() as gone:
            for _ in range(int(10 * inputs.get("wait_s", 0))):
                if gone.is_set():
                    (directory / "left").touch()
                    break
                await asyncio.sleep(0.1)
        return inputs
"""
GATEWAY_PATH = "/run_inference/"
JSON_TYPE = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalTrussServer]:
    """A server whose model writes a file for each request, and then returns the request."""
    bundle = write_mini_bundle(tmp_path_factory.mktemp("pages") / "bundle")
    (bundle / "model/model.py").write_text(MODEL.format(directory=str(bundle.parent)))
    with LocalTrussServer(bundle, port=free_port()) as server:
        yield server


@pytest.fixture
def worked(server: LocalTrussServer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file that exists once the model has worked."""
    assert server._bundle_dir is not None
    path = server._bundle_dir.parent / "worked"
    path.unlink(missing_ok=True)
    return path


def ask(
    server: LocalTrussServer,
    headers: Mapping[str, str],
    path: str = PREDICT_PATH,
    body: str | None = BODY,
    method: str = "POST",
) -> tuple[int, str]:
    address = urlsplit(server.base_url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, TIMEOUT_S)
    try:
        connection.request(method, path, body, dict(headers))
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


PAGES = [
    {"Origin": "https://evil.example", "Content-Type": "text/plain"},
    {"Origin": "https://evil.example", **JSON_TYPE},
    {"Origin": "http://localhost:5173", **JSON_TYPE},  # pages of this machine use the gateway
    {"Origin": "null", "Content-Type": "application/x-www-form-urlencoded"},
    {"Origin": "https://evil.example"},
    {"Content-Type": "text/plain;charset=UTF-8"},
    {"Content-Type": "TEXT/PLAIN"},
    {"Content-Type": "multipart/form-data; boundary=x"},
    {"Content-Type": "application/x-www-form-urlencoded"},
    {"Host": "evil.example:8080", **JSON_TYPE},
    {"Host": "127.0.0.1.evil.example", **JSON_TYPE},
    {"Host": "localhost.evil.example:8080", **JSON_TYPE},
]


@pytest.mark.parametrize("headers", PAGES)
@pytest.mark.parametrize("path", [PREDICT_PATH, PREDICT_PATH + "_binary", "/invocations"])
def test_a_page_starts_no_work(
    server: LocalTrussServer, worked: Path, headers: dict[str, str], path: str
) -> None:
    status, body = ask(server, headers, path)
    assert status in (403, 415)
    assert set(json.loads(body)) == {"error"}
    assert not worked.exists()


@pytest.mark.parametrize(
    "headers", [{"Origin": "https://evil.example"}, {"Host": "evil.example:8080"}]
)
def test_a_page_neither_reloads_the_model_nor_reads_anything(
    server: LocalTrussServer, headers: dict[str, str]
) -> None:
    assert ask(server, headers, "/hot-reload")[0] == 403
    for path in ("/", "/metrics/", "/v1/models/model", "/v1/models/model/schema"):
        assert ask(server, headers, path, None, "GET")[0] == 403
    preflight = {**headers, "Access-Control-Request-Method": "POST"}
    assert ask(server, preflight, body=None, method="OPTIONS")[0] == 403


@pytest.mark.parametrize(
    "headers",
    [
        JSON_TYPE,
        {"Content-Type": "application/json; charset=utf-8"},
        {},
        {"Host": "localhost:8080", **JSON_TYPE},
        {"Host": "[::1]:8080", **JSON_TYPE},
        {"Host": "riffusion.localhost", **JSON_TYPE},
        {"Host": "studio:8080", **JSON_TYPE},
    ],
)
def test_programs_use_the_server_directly(
    server: LocalTrussServer, worked: Path, headers: dict[str, str]
) -> None:
    status, body = ask(server, headers)
    assert (status, json.loads(body)) == (200, json.loads(BODY))
    assert worked.exists()


def test_the_client_and_the_gateway_use_the_server(server: LocalTrussServer) -> None:
    endpoint = Endpoint(server.predict_url, retry_budget_s=0)
    assert endpoint.predict(json.loads(BODY)) == json.loads(BODY)
    with gateway_to(server.predict_url) as client:
        headers = {"Origin": "http://localhost:5173", "Content-Type": "text/plain"}
        answer = client.post(GATEWAY_PATH, content=BODY, headers=headers)
        assert (answer.status_code, answer.json()) == (200, json.loads(BODY))


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_an_upgrade_to_websocket_is_answered_at_once(server: LocalTrussServer, method: str) -> None:
    """Truss itself leaves it without an answer. The upgrade is ignored."""
    body = BODY if method == "POST" else None
    headers = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        **JSON_TYPE,
    }
    assert ask(server, headers, body=body, method=method) == ask(
        server, JSON_TYPE, body=body, method=method
    )


def send(url: str, path: str, body: str) -> socket.socket:
    """A connection on which a request was sent."""
    address = urlsplit(url)
    connection = socket.create_connection((address.hostname, address.port), TIMEOUT_S)
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {address.netloc}\r\nContent-Type: application/json"
        f"\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    connection.sendall(head.encode() + body.encode())
    return connection


@pytest.mark.parametrize("wait_s", [0, 2.5])
def test_a_client_that_stops_sending_gets_its_answer(
    server: LocalTrussServer, wait_s: float
) -> None:
    body = json.dumps({"wait_s": wait_s})

    def answer_of(url: str, path: str) -> bytes:
        with send(url, path, body) as connection:
            connection.shutdown(socket.SHUT_WR)
            return b"".join(iter(partial(connection.recv, 2**16), b""))

    with gateway_to(server.predict_url) as client, ThreadPoolExecutor() as threads:
        urls, paths = (server.base_url, str(client.base_url)), (PREDICT_PATH, GATEWAY_PATH)
        answers = list(threads.map(answer_of, urls, paths))  # both at once
    for answer in answers:
        while answer.startswith(b"HTTP/1.1 100 "):  # clients skip these
            answer = answer.partition(b"\r\n\r\n")[2]
        head, _, content = answer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 OK"), answer
        assert json.loads(content) == json.loads(body)


@pytest.mark.parametrize("through_gateway", [False, True])
def test_a_client_that_leaves_is_still_noticed(
    server: LocalTrussServer, worked: Path, through_gateway: bool
) -> None:
    """Closing a connection looks at first like the end of sending."""
    left = worked.parent / "left"
    left.unlink(missing_ok=True)
    with gateway_to(server.predict_url) as client:
        url = str(client.base_url) if through_gateway else server.base_url
        path = GATEWAY_PATH if through_gateway else PREDICT_PATH
        connection = send(url, path, json.dumps({"wait_s": 60}))
        wait_until(worked.exists, "the model has not started")
        connection.close()
        wait_until(left.exists, "nobody noticed that the client has left")
