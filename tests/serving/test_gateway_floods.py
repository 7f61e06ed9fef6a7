"""The gateway and clients that make many requests, or pretend to be many clients."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler

import pytest

from riffusion.serving.gateway import body_memory
from riffusion.serving.gateway.client_limits import ClientLimits
from riffusion.serving.gateway.reverse_proxy import NDJSON
from tests.patience import PATIENCE_S, wait_until
from tests.serving.backends import Backend, say
from tests.serving.gateways import CLIP, REQUEST, gateway_to

PROGRESS = b'{"event": "progress", "step": 1, "steps": 2}\n'
RESULT = b'{"event": "result", ' + CLIP[1:] + b"\n"


def test_many_health_checks_at_once_are_one_for_the_endpoint() -> None:
    paths: list[str] = []

    def count(handler: BaseHTTPRequestHandler) -> None:
        paths.append(handler.path)
        time.sleep(0.2)
        say(b"{}")(handler)

    with Backend(say(CLIP), get=count) as backend, gateway_to(backend.url) as client:
        for path in ("/health", "/metrics/"):
            paths.clear()
            start = time.monotonic()
            with ThreadPoolExecutor(16) as pool:
                answers = list(pool.map(lambda _: client.get(path), range(100)))  # noqa: B023
            assert {answer.status_code for answer in answers} == {200}
            assert 1 <= len(paths) <= 2 + (time.monotonic() - start)  # at most one per second


def test_requests_of_any_kind_are_limited_too() -> None:
    """Their limit is ten times that of clips, and both are counted."""
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


def test_the_bodies_of_all_requests_together_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are held until their answers have been sent, and no longer."""
    monkeypatch.setattr(body_memory, "MAX_BYTES", 10 * len(REQUEST) - 1)
    arrived = threading.Semaphore(0)

    def hang(handler: BaseHTTPRequestHandler) -> None:
        arrived.release()
        backend.hang(handler)
        say(CLIP)(handler)

    backend = Backend(hang)
    with (
        backend,
        gateway_to(backend.url) as client,
        ThreadPoolExecutor(9) as pool,
    ):

        def post(_: int = 0) -> int:
            return client.post("/run_inference/", content=REQUEST).status_code

        held = [pool.submit(post, number) for number in range(9)]
        for _ in held:
            assert arrived.acquire(timeout=PATIENCE_S)
        refused = client.post("/run_inference/", content=REQUEST)
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        assert "bodies of all requests" in refused.json()["error"]
        backend.released.set()
        assert [request.result() for request in held] == [200] * 9
        assert list(map(post, range(20))) == [200] * 20


def test_a_stream_holds_its_body_until_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body_memory, "MAX_BYTES", 2 * len(REQUEST) - 1)

    def stream(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", NDJSON)
        handler.send_header("Connection", "close")
        handler.end_headers()
        handler.wfile.write(PROGRESS)
        backend.hang(handler)
        handler.wfile.write(RESULT)

    backend = Backend(stream, say(CLIP))
    with backend, gateway_to(backend.url) as client:
        with client.stream("POST", "/run_inference/", content=REQUEST) as response:
            lines = response.iter_lines()
            assert next(lines) + "\n" == PROGRESS.decode()
            assert client.post("/run_inference/", content=REQUEST).status_code == 503
            backend.released.set()
            assert list(lines) == [RESULT.decode().strip()]
        wait_until(
            lambda: client.post("/run_inference/", content=REQUEST).status_code == 200, "no room"
        )


def test_pages_and_their_images_are_far_below_the_limits() -> None:
    limits = ClientLimits().times(10)
    assert limits.max_per_minute >= 20 * 50  # fifty people behind one address open the app
    assert limits.max_at_once >= 6 * 8  # eight of them at the same time, six connections each


@pytest.mark.parametrize(
    "forwarded", ["192.0.2.1, 127.0.0.1", "garbage", "", "::1", "x" * 5000, "127.0.0.1"]
)
def test_a_client_cannot_change_its_address_by_a_header(
    forwarded: str,
) -> None:
    """A proxy appends the address it sees; anything to the left of that is not trusted."""
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
