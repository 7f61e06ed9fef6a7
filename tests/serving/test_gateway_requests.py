"""The gateway and requests that no browser sends; raw sockets send what httpx refuses to."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from PIL import Image

from riffusion.generation.seed_library import SeedLibrary
from riffusion.serving.client import Endpoint
from riffusion.serving.gateway.app import create_gateway
from riffusion.serving.local.gateway_server import GatewayServer
from tests.serving.backends import Backend, say
from tests.serving.gateways import (
    CLIP,
    PREDICT_HEAD,
    REQUEST,
    TIMEOUT_S,
    connect,
    gateway_to,
    send_bytes,
)

MEGABYTE = 10**6


@pytest.fixture
def backend() -> Iterator[Backend]:
    with Backend(say(CLIP)) as backend:
        yield backend


@pytest.fixture
def client(backend: Backend) -> Iterator[httpx.Client]:
    with gateway_to(backend.url) as client:
        yield client


@pytest.mark.parametrize(
    "head",
    [
        b"Content-Length: %d\r\n\r\n%s" % (len(REQUEST), REQUEST),
        b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(REQUEST), REQUEST),
        b"content-type: text/plain\r\nContent-Length: %d\r\n\r\n%s" % (len(REQUEST), REQUEST),
        b"Content-Type: application/json; charset=\xfc\xff\r\nContent-Length: %d\r\n\r\n%s"
        % (len(REQUEST), REQUEST),
        b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n%s" % (len(REQUEST), REQUEST),
        b"Upgrade: websocket\r\nConnection: Upgrade\r\nContent-Length: %d\r\n\r\n%s"
        % (len(REQUEST), REQUEST),
    ],
    ids=["length", "chunked", "text", "bytes beyond ASCII", "expect", "upgrade"],
)
def test_the_endpoint_gets_the_json_whatever_the_framing_of_the_request(
    head: bytes, client: httpx.Client, backend: Backend
) -> None:
    with connect(client) as connection:
        connection.sendall(
            PREDICT_HEAD + b"Connection: close\r\n" * (b"Upgrade" not in head) + head
        )
        answer = b""
        while CLIP not in answer:
            data = connection.recv(2**16)
            assert data, answer
            answer += data
    ((_, headers, body),) = backend.requests
    assert (headers["content-type"], body) == ("application/json", REQUEST)


def test_only_body_content_type_and_id_reach_the_endpoint(
    client: httpx.Client, backend: Backend
) -> None:
    sent = {
        "Authorization": "Api-Key stolen",
        "Cookie": "session=1",
        "Host": "evil.example",
        "X-Forwarded-For": "192.0.2.1",
        "X-Baseten-Request-Id": "1\t2",
        "X-Request-ID": "not well-formed",
        "traceparent": "nor this",
        "Content-Type": "application/octet-stream; boundary=x",
    }
    assert client.post("/run_inference/?key=1", content=REQUEST, headers=sent).status_code == 200
    ((path, headers, _),) = backend.requests
    assert path == "/v1/models/model:predict"
    assert re.fullmatch(r"[0-9a-f]{32}", headers.pop("x-request-id"))
    assert headers == {
        "host": urlsplit(backend.url).netloc,
        "content-type": "application/octet-stream",
        "content-length": str(len(REQUEST)),
    }


@pytest.mark.parametrize(
    "request_bytes",
    [
        PREDICT_HEAD + b"Content-Length: 5\r\nContent-Length: 41\r\n\r\n" + REQUEST,
        PREDICT_HEAD + b"Content-Length: 5\r\nTransfer-Encoding: x, chunked\r\n\r\n" + REQUEST,
        PREDICT_HEAD + b"Content-Length: -1\r\n\r\n" + REQUEST,
        PREDICT_HEAD + b"Content-Length: many\r\n\r\n" + REQUEST,
        PREDICT_HEAD + b"X-Name : 1\r\n\r\n",
        PREDICT_HEAD + b"X-Long: " + b"x" * 10**6 + b"\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100),
        b"GET /\x00 HTTP/1.1\r\nHost: gateway\r\n\r\n",
        b"GET /a b HTTP/1.1\r\nHost: gateway\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
    ],
    ids=[
        "two lengths", "length and chunked", "negative length", "length in words",
        "space in a name", "endless head", "TLS", "NUL", "space in a path", "no host",
    ],
)  # fmt: skip
def test_invalid_http_is_refused(
    request_bytes: bytes, client: httpx.Client, backend: Backend
) -> None:
    try:
        status, _ = send_bytes(client, request_bytes)
    except ConnectionError:  # the gateway closed the connection while this side was still sending
        status = 0
    assert status in (0, 400, 501)
    assert backend.requests == []
    assert client.post("/run_inference/", content=REQUEST).status_code == 200


def test_an_incomplete_request_starts_no_work(client: httpx.Client, backend: Backend) -> None:
    for head in (b"Content-Length: 100\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n29\r\n"):
        with connect(client) as connection:
            connection.sendall(PREDICT_HEAD + head + REQUEST)
    assert client.post("/run_inference/", content=REQUEST).status_code == 200
    assert len(backend.requests) == 1


def test_large_bodies_without_a_length_are_refused(client: httpx.Client, backend: Backend) -> None:
    def endless() -> Iterator[bytes]:
        for _ in range(40):
            yield b" " * MEGABYTE

    answer = client.post("/run_inference/", content=endless())
    assert answer.status_code == 400
    assert answer.json()["error"].startswith("request: the body has")
    assert backend.requests == []


@pytest.mark.parametrize(
    "origin",
    [
        "http://evil.example:3013", "http://127.0.0.1.evil.example",
        "http://localhost.evil.example:3013", "http://evillocalhost.example",
    ],
)  # fmt: skip
def test_a_foreign_host_name_that_resolves_here_is_refused(
    origin: str, client: httpx.Client, backend: Backend
) -> None:
    """DNS rebinding: the page's own name resolves to the gateway, so both seem to be one site."""
    headers = {"Origin": origin, "Host": origin.removeprefix("http://")}
    answer = client.post("/run_inference/", content=REQUEST, headers=headers)
    assert answer.status_code == 403
    assert f"--allowed-origin {origin}" in answer.json()["error"]
    assert backend.requests == []


@pytest.mark.parametrize(
    "host", ["192.168.1.7:3013", "studio:3013", "[2001:db8::1]:3013", "riff.localhost:3013"]
)
def test_the_gateways_own_page_is_allowed(host: str, client: httpx.Client) -> None:
    headers = {"Origin": f"http://{host}", "Host": host}
    assert client.post("/run_inference/", content=REQUEST, headers=headers).status_code == 200
    headers["Host"] = "192.168.1.8:3013"
    assert client.post("/run_inference/", content=REQUEST, headers=headers).status_code == 403


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
def test_other_methods_start_no_work(method: str, client: httpx.Client, backend: Backend) -> None:
    for path in ("/run_inference/", "/v1/models/model:predict"):
        answer = client.request(method, path)
        assert answer.status_code == 405
        assert answer.headers["allow"] == "POST"
        if method != "HEAD":
            assert list(answer.json()) == ["error"]
    assert backend.requests == []


@pytest.fixture
def app_client(backend: Backend, tmp_path: Path) -> Iterator[httpx.Client]:
    app_dir = tmp_path / "app"
    (app_dir / "assets").mkdir(parents=True)
    (app_dir / "index.html").write_text("page")
    (app_dir / "assets/app.js").write_text("script")
    (app_dir / "out").symlink_to(tmp_path)
    (tmp_path / "secret").write_text("secret")
    with gateway_to(backend.url, app_dir=app_dir) as client:
        yield client


@pytest.mark.parametrize(
    "path",
    [
        b"/../secret", b"/%2e%2e/secret", b"/..%2fsecret", b"/%2e%2e%2fsecret", b"/..%5csecret",
        b"/%252e%252e/secret", b"/assets/../../secret", b"/assets/..%2f..%2fsecret",
        b"//../secret", b"/out/secret", b"/.%00./secret", b"/%00", b"/index.html%00.js",
        b"/%ff%fe", b"/%ed%a0%80", b"/assets/app.js/x", b"/" + b"a" * 5000,
        b"/%0d%0aSet-Cookie:%20a=b", b"/~root/secret", b"http://evil.example/index.html",
    ],
)  # fmt: skip
def test_no_path_leads_out_of_the_app_directory(path: bytes, app_client: httpx.Client) -> None:
    status, rest = send_bytes(
        app_client, b"GET %s HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\n\r\n" % path
    )
    head, _, body = rest.partition(b"\r\n\r\n")
    assert status == 404
    assert list(json.loads(body)) == ["error"]
    assert b"cookie" not in head.lower()


def test_the_apps_files_are_read_only(app_client: httpx.Client) -> None:
    assert app_client.get("/assets/app.js").text == "script"
    assert app_client.head("/").status_code == 200
    for method in ("POST", "PUT", "DELETE"):
        answer = app_client.request(method, "/index.html", content=b"x")
        assert (answer.status_code, list(answer.json())) == (405, ["error"])
    assert app_client.get("/").text == "page"


def test_seed_images_with_any_name_are_found_and_encoded_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ["drums #1 & ünï?", "a%2fb", "..hidden", "x.png", "日本"]
    for name in names:
        Image.new("RGB", (8, 8)).save(tmp_path / f"{name}.png")
    encoded: list[object] = []
    monkeypatch.setattr(
        "riffusion.serving.gateway.seed_images.encode_image",
        lambda image, _: encoded.append(image) or b"png",
    )
    app = create_gateway(Endpoint("http://127.0.0.1:1"), library=SeedLibrary(tmp_path))
    with GatewayServer(app) as gateway, httpx.Client(trust_env=False, timeout=TIMEOUT_S) as client:
        url = f"{gateway.base_url}/seed_images"
        assert client.get(url).json() == {"seed_images": sorted(names)}
        for name in names * 3:
            quoted = "".join(f"%{byte:02x}" for byte in name.encode())
            answer = client.get(f"{url}/{quoted}.png")
            assert (answer.status_code, answer.content) == (200, b"png")
        for name in ("drums", "a/b", "%00", "%0d%0aX: y", "%ed%a0%80", "x" * 5000, "${jndi}"):
            answer = client.get(f"{url}/{name}.png")
            assert (answer.status_code, list(answer.json())) == (404, ["error"])
            assert len(answer.content) < 1000
    assert len(encoded) == len(names)
