"""The gateway before endpoints that are away, hang, break off or talk nonsense; and its manners."""

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from riffusion.errors import InputError
from riffusion.serving.client import Endpoint
from riffusion.serving.gateway.app import create_gateway
from riffusion.serving.gateway.client_limits import ClientLimits
from riffusion.serving.local.serve import GatewayServer
from tests.serving.backends import Backend, Play, break_off, hang_up, say
from tests.serving.conftest import free_port

CLIP = b'{"image": "data:image/jpeg;base64,YQ==", "audio": "data:audio/mpeg;base64,YQ=="}'
REQUEST = b'{"start": {"prompt": "bells", "seed": 1}}'
RETRY_AFTER_S = 1


@contextmanager
def gateway_to(
    url: str,
    timeout_s: float = 30,
    retry_budget_s: float = 0,
    app_dir: Path | None = None,
    limits: ClientLimits | None = None,
    trusted_proxies: tuple[str, ...] = (),
) -> Iterator[httpx.Client]:
    """A client of a gateway in front of `url`."""
    endpoint = Endpoint(url, timeout_s=timeout_s, retry_budget_s=retry_budget_s)
    app = create_gateway(endpoint, ["https://app.example"], app_dir, limits=limits)
    with (
        GatewayServer(app, trusted_proxies=trusted_proxies) as gateway,
        httpx.Client(base_url=gateway.base_url, timeout=60, trust_env=False) as client,
    ):
        yield client


@pytest.mark.parametrize("path", ["/run_inference/", "/run_inference", "/v1/models/model:predict"])
def test_requests_and_clips_pass_unchanged(path: str) -> None:
    with Backend(say(CLIP)) as backend, gateway_to(backend.url) as client:
        answer = client.post(path, content=REQUEST, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.content) == (200, CLIP)
    ((sent_path, headers, body),) = backend.requests
    assert (sent_path, body) == ("/v1/models/model:predict", REQUEST)
    assert headers["content-type"] == "application/json"


@pytest.mark.parametrize("status", [400, 401, 404, 429, 500, 503])
def test_errors_pass_unchanged(status: int) -> None:
    content = b'{"error": "start: Field required"}'
    play = say(content, status, Retry_After="7")
    with Backend(play) as backend, gateway_to(backend.url) as client:
        answer = client.post("/run_inference/", content=REQUEST)
    assert (answer.status_code, answer.content) == (status, content)
    assert answer.headers["retry-after"] == "7"


@pytest.mark.parametrize(
    "play",
    [
        say(b"<html>502 Bad Gateway</html>", 502, "text/html"),
        say(b"<html>hello</html>", 200, "text/html"),
        say(b"", 200),
        say(b"[1, 2]", 200),
        say(b'{"image": ', 200),
        say(b'{"detail": "no error here"}', 500),
        hang_up,
        break_off(b'{"image": ', "application/json"),
    ],
    ids=["proxy", "page", "empty", "array", "half", "no error", "hang up", "break off"],
)
def test_nonsense_is_502(play: Play) -> None:
    with Backend(play) as backend, gateway_to(backend.url) as client:
        answer = client.post("/run_inference/", content=REQUEST)
    assert answer.status_code == 502
    assert "endpoint" in answer.json()["error"]
    assert len(backend.requests) == 1  # it may have been worked on, so it isn't sent again


def test_an_endpoint_that_is_away_is_502() -> None:
    with gateway_to(f"http://127.0.0.1:{free_port()}") as client:
        answer = client.post("/run_inference/", content=REQUEST)
        health = client.get("/health")
    assert answer.status_code == 502
    assert "out of reach" in answer.json()["error"]
    assert "riffusion serve" in answer.json()["error"]
    assert health.status_code == 503
    assert health.json()["status"] == "unavailable"


def test_an_endpoint_that_hangs_is_504() -> None:
    backend = Backend(lambda handler: backend.hang(handler))
    with backend, gateway_to(backend.url, timeout_s=0.3) as client:
        answer = client.post("/run_inference/", content=REQUEST)
    assert answer.status_code == 504
    assert "did not answer within 0.3 s" in answer.json()["error"]


def test_a_busy_endpoint_is_asked_again_when_it_says() -> None:
    busy = say(b'{"error": "busy"}', 503, Retry_After=str(RETRY_AFTER_S))
    with Backend(busy, say(CLIP)) as backend, gateway_to(backend.url, retry_budget_s=5) as client:
        start = time.monotonic()
        answer = client.post("/run_inference/", content=REQUEST)
    assert answer.status_code == 200
    assert time.monotonic() - start >= RETRY_AFTER_S
    assert [body for _, _, body in backend.requests] == [REQUEST, REQUEST]


def test_a_stream_that_is_refused_is_asked_for_again() -> None:
    line = b'{"event": "result"}\n'
    plays = (say(b'{"error": "busy"}', 503), say(line, 200, "application/x-ndjson"))
    with Backend(*plays) as backend, gateway_to(backend.url, retry_budget_s=5) as client:
        answer = client.post("/run_inference/", content=REQUEST)
    assert (answer.status_code, answer.content) == (200, line)
    assert len(backend.requests) == 2


def test_an_endpoint_that_starts_late_is_waited_for() -> None:
    port = free_port()
    with gateway_to(f"http://127.0.0.1:{port}", retry_budget_s=10) as client:
        with ThreadPoolExecutor(1) as pool:
            asking = pool.submit(client.post, "/run_inference/", content=REQUEST)
            time.sleep(0.3)
            with Backend(say(CLIP), port=port) as backend:
                assert asking.result().content == CLIP
        assert len(backend.requests) == 1


def test_a_stream_arrives_event_by_event() -> None:
    first = b'{"event": "progress", "step": 1, "steps": 2}\n'

    def play(handler: object) -> None:
        handler.send_response(200)  # type: ignore[attr-defined]
        handler.send_header("Content-Type", "application/x-ndjson")  # type: ignore[attr-defined]
        handler.send_header("Content-Length", str(2 * len(first)))  # type: ignore[attr-defined]
        handler.end_headers()  # type: ignore[attr-defined]
        handler.wfile.write(first)  # type: ignore[attr-defined]
        backend.released.wait(30)
        handler.wfile.write(first)  # type: ignore[attr-defined]

    backend = Backend(play)
    with (
        backend,
        gateway_to(backend.url) as client,
        client.stream("POST", "/run_inference/", content=REQUEST) as answer,
    ):
        lines = answer.iter_lines()
        assert next(lines) == first.decode().strip()  # while the endpoint holds the rest back
        backend.released.set()
        assert next(lines) == first.decode().strip()


def test_a_stream_that_breaks_off_ends_with_an_error() -> None:
    play = break_off(b'{"event": "progress", "step": 1, "steps": 2}\n')
    with Backend(play) as backend, gateway_to(backend.url) as client:
        answer = client.post("/run_inference/", content=REQUEST)
    assert len(backend.requests) == 1
    first, *_, last = [line for line in answer.text.splitlines() if line]
    assert json.loads(first)["event"] == "progress"
    assert json.loads(last)["event"] == "error"


@pytest.mark.parametrize(
    "origin", ["http://localhost:3000", "http://127.0.0.1", "https://app.example"]
)
def test_allowed_pages_may_ask(origin: str) -> None:
    asked = {
        "Origin": origin,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type",
    }
    with Backend(say(CLIP)) as backend, gateway_to(backend.url) as client:
        preflight = client.options("/run_inference/", headers=asked)
        answer = client.post("/run_inference/", content=REQUEST, headers={"Origin": origin})
    for response in (preflight, answer):
        assert response.status_code == 200
        assert response.headers["access-control-allow-origin"] == origin


@pytest.mark.parametrize(
    "origin",
    ["https://evil.example", "http://localhost.evil.example", "https://app.example.evil", "null"],
)
def test_other_pages_may_not_and_start_no_work(origin: str) -> None:
    headers = {"Origin": origin, "Content-Type": "text/plain"}  # which browsers send unasked
    with Backend(say(CLIP)) as backend, gateway_to(backend.url) as client:
        answer = client.post("/run_inference/", content=REQUEST, headers=headers)
    assert answer.status_code == 403
    assert "access-control-allow-origin" not in answer.headers
    assert backend.requests == []


@pytest.mark.parametrize("origin", ["app.example", "https://app.example/", "https://", ""])
def test_what_is_no_origin_is_refused(origin: str) -> None:
    with pytest.raises(InputError, match="no origin; write it as browsers do"):
        create_gateway(Endpoint("http://127.0.0.1:1"), [origin])


def test_a_client_that_sends_too_slowly_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("riffusion.serving.gateway.incoming_body.BODY_TIMEOUT_S", 0.3)

    def slow_body() -> Iterator[bytes]:
        yield REQUEST[:10]
        time.sleep(1)
        yield REQUEST[10:]

    with Backend(say(CLIP)) as backend, gateway_to(backend.url) as client:
        answer = client.post("/run_inference/", content=slow_body())
        assert client.post("/run_inference/", content=REQUEST).status_code == 200
    assert answer.status_code == 408
    assert answer.json() == {"error": "the request did not arrive within 0.3 s"}
    assert len(backend.requests) == 1


def test_the_web_apps_files_are_served(tmp_path: Path) -> None:
    (tmp_path / "app").mkdir()
    (tmp_path / "app/index.html").write_text("<h1>Riffusion</h1>")
    (tmp_path / "secret").write_text("secret")
    with Backend(say(CLIP)) as backend, gateway_to(backend.url, app_dir=tmp_path / "app") as client:
        assert client.get("/").text == "<h1>Riffusion</h1>"
        assert client.post("/run_inference/", content=REQUEST).content == CLIP
        for path in ("/nope", "/../secret", "/%2e%2e/secret"):
            answer = client.get(path)
            assert (answer.status_code, list(answer.json())) == (404, ["error"])


def test_wrong_methods_and_paths_are_json_errors() -> None:
    with Backend(say(CLIP)) as backend, gateway_to(backend.url) as client:
        assert (client.get("/run_inference/").status_code, client.get("/x").status_code) == (
            405,
            404,
        )
        assert list(client.get("/x").json()) == ["error"]


def test_metrics_of_an_endpoint_that_is_away_are_502() -> None:
    with gateway_to(f"http://127.0.0.1:{free_port()}") as client:
        answer = client.get("/metrics/")
    assert answer.status_code == 502
    assert "out of reach" in answer.json()["error"]


def test_a_hosted_endpoint_shows_no_metrics() -> None:
    with gateway_to("https://model.example/production/predict") as client:
        assert client.get("/metrics/").status_code == 404
