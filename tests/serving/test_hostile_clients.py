"""The gateway before clients that mean no good; raw sockets where HTTP libraries are too polite."""

import contextlib
import json
import socket
import struct
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from PIL import Image

from riffusion.generation.seed_library import SeedLibrary
from riffusion.serving.client import Endpoint
from riffusion.serving.gateway.app import create_gateway
from riffusion.serving.gateway.client_limits import ClientLimits
from riffusion.serving.local.serve import GatewayServer
from tests.serving.backends import Backend, Play, break_off, say
from tests.serving.test_gateway import CLIP, REQUEST, gateway_to

TIMEOUT_S = 60.0
MEGABYTE = 10**6
PREDICT = b"POST /run_inference/ HTTP/1.1\r\nHost: gateway\r\n"


@pytest.fixture
def backend() -> Iterator[Backend]:
    with Backend(say(CLIP)) as backend:
        yield backend


@pytest.fixture
def client(backend: Backend) -> Iterator[httpx.Client]:
    with gateway_to(backend.url) as client:
        yield client


def connected(client: httpx.Client) -> socket.socket:
    address = urlsplit(str(client.base_url))
    return socket.create_connection((address.hostname, address.port), TIMEOUT_S)


def told(client: httpx.Client, request: bytes) -> tuple[int, bytes]:
    """Status and the rest of an answer to bytes as they are; 0 if there is none."""
    with connected(client) as connection:
        connection.sendall(request)
        answer = b"".join(iter(lambda: connection.recv(2**16), b""))
    return (int(answer.split()[1]) if answer else 0), answer.partition(b"\r\n")[2]


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
def test_however_a_request_is_sent_the_endpoint_gets_its_json(
    head: bytes, client: httpx.Client, backend: Backend
) -> None:
    with connected(client) as connection:
        connection.sendall(PREDICT + b"Connection: close\r\n" * (b"Upgrade" not in head) + head)
        answer = b""
        while CLIP not in answer:
            data = connection.recv(2**16)
            assert data, answer
            answer += data
    ((_, headers, body),) = backend.requests
    assert (headers["content-type"], body) == ("application/json", REQUEST)


def test_only_body_and_content_type_reach_the_endpoint(
    client: httpx.Client, backend: Backend
) -> None:
    sent = {
        "Authorization": "Api-Key stolen",
        "Cookie": "session=1",
        "Host": "evil.example",
        "X-Forwarded-For": "192.0.2.1",
        "X-Baseten-Request-Id": "1\t2",
        "Content-Type": "application/octet-stream; boundary=x",
    }
    assert client.post("/run_inference/?key=1", content=REQUEST, headers=sent).status_code == 200
    ((path, headers, _),) = backend.requests
    assert path == "/v1/models/model:predict"
    assert headers == {
        "host": urlsplit(backend.url).netloc,
        "content-type": "application/octet-stream",
        "content-length": str(len(REQUEST)),
    }


@pytest.mark.parametrize(
    "request_bytes",
    [
        PREDICT + b"Content-Length: 5\r\nContent-Length: 41\r\n\r\n" + REQUEST,
        PREDICT + b"Content-Length: 5\r\nTransfer-Encoding: x, chunked\r\n\r\n" + REQUEST,
        PREDICT + b"Content-Length: -1\r\n\r\n" + REQUEST,
        PREDICT + b"Content-Length: many\r\n\r\n" + REQUEST,
        PREDICT + b"X-Name : 1\r\n\r\n",
        PREDICT + b"X-Long: " + b"x" * 10**6 + b"\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100),
        b"GET /\x00 HTTP/1.1\r\nHost: gateway\r\n\r\n",
        b"GET /a b HTTP/1.1\r\nHost: gateway\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
    ],
    ids=[
        "two lengths", "length and chunked", "negative length", "no number", "space in a name",
        "endless head", "TLS", "NUL", "space in a path", "no host",
    ],
)  # fmt: skip
def test_what_is_no_http_is_refused(
    request_bytes: bytes, client: httpx.Client, backend: Backend
) -> None:
    try:
        status, _ = told(client, request_bytes)
    except ConnectionError:  # it ended the connection while this still sent
        status = 0
    assert status in (0, 400, 501)
    assert backend.requests == []
    assert client.post("/run_inference/", content=REQUEST).status_code == 200


def test_a_request_that_stops_short_starts_no_work(client: httpx.Client, backend: Backend) -> None:
    for head in (b"Content-Length: 100\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n29\r\n"):
        with connected(client) as connection:
            connection.sendall(PREDICT + head + REQUEST)
    assert client.post("/run_inference/", content=REQUEST).status_code == 200
    assert len(backend.requests) == 1


def test_large_bodies_of_no_stated_length_are_refused(
    client: httpx.Client, backend: Backend
) -> None:
    def endless() -> Iterator[bytes]:
        for _ in range(40):
            yield b" " * MEGABYTE

    answer = client.post("/run_inference/", content=endless())
    assert answer.status_code == 400
    assert answer.json()["error"].startswith("request: the body has")
    assert backend.requests == []


@pytest.mark.parametrize("origin", ["http://evil.example:3013", "http://127.0.0.1.evil.example"])
def test_a_foreign_name_that_points_here_is_no_page_of_ours(
    origin: str, client: httpx.Client, backend: Backend
) -> None:
    """DNS rebinding: the page's own name leads to the gateway, so that it seems to be the same."""
    headers = {"Origin": origin, "Host": origin.removeprefix("http://")}
    answer = client.post("/run_inference/", content=REQUEST, headers=headers)
    assert answer.status_code == 403
    assert f"--allowed-origin {origin}" in answer.json()["error"]
    assert backend.requests == []


@pytest.mark.parametrize("host", ["192.168.1.7:3013", "studio:3013", "[2001:db8::1]:3013"])
def test_the_gateways_own_page_may_ask(host: str, client: httpx.Client) -> None:
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
def test_no_path_leads_out_of_the_app(path: bytes, app_client: httpx.Client) -> None:
    status, rest = told(
        app_client, b"GET %s HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\n\r\n" % path
    )
    head, _, body = rest.partition(b"\r\n\r\n")
    assert status == 404
    assert list(json.loads(body)) == ["error"]
    assert b"cookie" not in head.lower()


def test_the_apps_files_can_only_be_read(app_client: httpx.Client) -> None:
    assert app_client.get("/assets/app.js").text == "script"
    assert app_client.head("/").status_code == 200
    for method in ("POST", "PUT", "DELETE"):
        answer = app_client.request(method, "/index.html", content=b"x")
        assert (answer.status_code, list(answer.json())) == (405, ["error"])
    assert app_client.get("/").text == "page"


def test_seed_images_of_any_name_are_found_and_encoded_once(
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


def test_a_flood_of_questions_is_one_for_the_endpoint() -> None:
    asked: list[str] = []

    def count(handler: BaseHTTPRequestHandler) -> None:
        asked.append(handler.path)
        time.sleep(0.2)
        say(b"{}")(handler)

    with Backend(say(CLIP), get=count) as backend, gateway_to(backend.url) as client:
        for path in ("/health", "/metrics/"):
            asked.clear()
            start = time.monotonic()
            with ThreadPoolExecutor(16) as pool:
                answers = list(pool.map(lambda _: client.get(path), range(100)))  # noqa: B023
            assert {answer.status_code for answer in answers} == {200}
            assert 1 <= len(asked) <= 2 + (time.monotonic() - start)


def test_everything_else_has_its_limit_too() -> None:
    """Ten times that of clips, whose own stays as it is."""
    limits = ClientLimits(2, 0)
    with Backend(say(CLIP)) as backend, gateway_to(backend.url, limits=limits) as client:
        posts = [client.post("/run_inference/", content=REQUEST).status_code for _ in range(3)]
        gets = [client.get("/nowhere").status_code for _ in range(18)]
        refused = client.get("/health", headers={"Origin": "https://app.example"})
    assert posts == [200, 200, 429]
    assert gets == [404] * 17 + [429]
    assert refused.status_code == 429
    assert int(refused.headers["retry-after"]) > 0
    assert refused.headers["access-control-allow-origin"] == "https://app.example"


def test_pages_and_their_images_are_far_below_the_limits() -> None:
    limits = ClientLimits().times(10)
    assert limits.max_per_minute >= 20 * 50  # fifty people who open the app behind one address
    assert limits.max_at_once >= 6 * 8  # eight of them in the same moment, six connections each


@pytest.mark.parametrize(
    "forwarded", ["192.0.2.1, 127.0.0.1", "garbage", "", "::1", "x" * 5000, "127.0.0.1"]
)
def test_what_a_client_writes_into_its_forwarded_header_never_makes_it_another(
    forwarded: str,
) -> None:
    """A proxy adds the address it sees to the right; what stands to its left is anybody's."""
    with (
        Backend(say(CLIP)) as backend,
        gateway_to(
            backend.url, limits=ClientLimits(1, 0), trusted_proxies=("127.0.0.1",)
        ) as client,
    ):
        statuses = [
            client.post(
                "/run_inference/",
                content=REQUEST,
                headers={"X-Forwarded-For": f"{number}.{forwarded}, 198.51.100.7"},
            ).status_code
            for number in (1, 2)
        ]
    assert statuses == [200, 429]


def test_clients_that_say_nothing_are_let_go(
    client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("riffusion.serving.gateway.connections.HEAD_TIMEOUT_S", 0.3)
    with contextlib.ExitStack() as connections:
        silent = [connections.enter_context(connected(client)) for _ in range(3)]
        silent[1].sendall(b"GET / HTTP/1.1\r\nHost: gateway\r\nX-Slow: ")
        body = b"Content-Length: 1000000\r\n\r\n"  # of a path that reads none
        silent[2].sendall(b"POST /nowhere HTTP/1.1\r\nHost: gateway\r\n" + body)
        for _ in range(4):
            time.sleep(0.1)
            for connection in silent[1:]:
                with contextlib.suppress(ConnectionError):
                    connection.sendall(b"x")  # a sign of life now and then doesn't help
        for connection in silent:
            with contextlib.suppress(ConnectionResetError):
                while connection.recv(2**16):
                    pass  # ends, or this test hangs
    assert client.post("/run_inference/", content=REQUEST).status_code == 200


def test_a_request_under_way_is_not_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("riffusion.serving.gateway.connections.HEAD_TIMEOUT_S", 0.1)

    def slow(handler: BaseHTTPRequestHandler) -> None:
        time.sleep(0.5)
        say(CLIP)(handler)

    def slow_body() -> Iterator[bytes]:
        yield REQUEST[:10]
        time.sleep(0.5)
        yield REQUEST[10:]

    with Backend(slow) as backend, gateway_to(backend.url) as client:
        for body in (REQUEST, slow_body(), REQUEST):
            assert client.post("/run_inference/", content=body).content == CLIP


def test_one_address_cannot_take_all_connections(
    client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("riffusion.serving.gateway.connections.MAX_CONNECTIONS", 4)
    with contextlib.ExitStack() as connections:
        for _ in range(4):
            connections.enter_context(connected(client))
        with connected(client) as fifth, contextlib.suppress(ConnectionError):
            fifth.sendall(b"GET /health HTTP/1.1\r\nHost: gateway\r\n\r\n")
            assert fifth.recv(1) == b""
    deadline = time.monotonic() + TIMEOUT_S
    while True:  # until the server has seen that the four are gone
        with contextlib.suppress(httpx.TransportError):
            assert client.post("/run_inference/", content=REQUEST).status_code == 200
            return
        assert time.monotonic() < deadline


def test_all_clients_of_a_trusted_proxy_get_through(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("riffusion.serving.gateway.connections.MAX_CONNECTIONS", 2)
    with (
        Backend(say(CLIP)) as backend,
        gateway_to(backend.url, trusted_proxies=("127.0.0.0/8",)) as client,
        contextlib.ExitStack() as connections,
    ):
        for _ in range(4):
            connections.enter_context(connected(client))
        assert client.post("/run_inference/", content=REQUEST).status_code == 200


def test_clients_that_hang_up_at_once_do_no_harm(client: httpx.Client) -> None:
    for _ in range(20):
        connection = connected(client)
        linger = struct.pack("ii", 1, 0)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)  # a reset, no farewell
        connection.sendall(PREDICT + b"Content-Length: 100\r\n\r\n{")
        connection.close()
    assert client.post("/run_inference/", content=REQUEST).status_code == 200


@pytest.mark.parametrize(
    "play",
    [
        say(b"[" * 100_000),
        say(b"no gzip at all", 200, Content_Encoding="gzip"),
        say(b'{"error": "\xff"}', 500),
        say(b"", 304),
        say(b"{}", 302, Location="http://127.0.0.1:1/"),
    ],
    ids=["nested", "not gzip", "not UTF-8", "not modified", "redirect"],
)
def test_more_nonsense_is_502(play: Play) -> None:
    with Backend(play) as backend, gateway_to(backend.url) as client:
        answer = client.post("/run_inference/", content=REQUEST)
    assert answer.status_code == 502
    assert list(answer.json()) == ["error"]


@pytest.mark.parametrize(
    "play",
    [
        say(b"no gzip at all", 200, "application/x-ndjson", Content_Encoding="gzip"),
        break_off(b""),
        break_off(b'{"event": "resu'),
    ],
    ids=["not gzip", "before the first event", "within one"],
)
def test_streams_that_break_end_with_an_error(play: Play) -> None:
    with Backend(play) as backend, gateway_to(backend.url) as client:
        answer = client.post("/run_inference/", content=REQUEST)
    last = json.loads(answer.text.splitlines()[-1])
    assert (answer.status_code, last["event"]) == (200, "error")
    assert last["error"]
