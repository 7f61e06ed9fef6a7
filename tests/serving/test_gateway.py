"""The gateway in front of endpoints that work, are unreachable, hang or are busy; CORS; files."""

import re
import time
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from riffusion.errors import InputError
from riffusion.serving import retries
from riffusion.serving.client import Endpoint
from riffusion.serving.gateway.app import create_gateway
from tests.serving.backends import Backend, say
from tests.serving.conftest import free_port
from tests.serving.gateways import CLIP, REQUEST, TIMEOUT_S, gateway_to

RETRY_AFTER_S = 1


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


def test_an_unreachable_endpoint_is_502() -> None:
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


def test_a_busy_endpoint_is_tried_again_after_its_retry_after() -> None:
    busy = say(b'{"error": "busy"}', 503, Retry_After=str(RETRY_AFTER_S))
    with (
        Backend(busy, say(CLIP)) as backend,
        gateway_to(backend.url, retry_budget_s=TIMEOUT_S) as client,
    ):
        start = time.monotonic()
        answer = client.post("/run_inference/", content=REQUEST)
    assert answer.status_code == 200
    assert time.monotonic() - start >= RETRY_AFTER_S
    assert [body for _, _, body in backend.requests] == [REQUEST, REQUEST]


def test_a_refused_stream_is_requested_again() -> None:
    line = b'{"event": "result"}\n'
    plays = (say(b'{"error": "busy"}', 503), say(line, 200, "application/x-ndjson"))
    with Backend(*plays) as backend, gateway_to(backend.url, retry_budget_s=TIMEOUT_S) as client:
        answer = client.post("/run_inference/", content=REQUEST)
    assert (answer.status_code, answer.content) == (200, line)
    assert len(backend.requests) == 2


def test_an_endpoint_that_starts_late_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retries, "_DELAYS_S", (0.1,) * 5000)  # also if the machine is busy
    port = free_port()
    with gateway_to(f"http://127.0.0.1:{port}", retry_budget_s=TIMEOUT_S) as client:
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
        backend.released.wait(TIMEOUT_S)
        handler.wfile.write(first)  # type: ignore[attr-defined]

    backend = Backend(play)
    with (
        backend,
        gateway_to(backend.url) as client,
        client.stream("POST", "/run_inference/", content=REQUEST) as answer,
    ):
        lines = answer.iter_lines()
        assert next(lines) == first.decode().strip()  # while the endpoint withholds the rest
        backend.released.set()
        assert next(lines) == first.decode().strip()


@pytest.mark.parametrize(
    "origin", ["http://localhost:3000", "http://127.0.0.1", "https://app.example"]
)
def test_allowed_pages_get_cors_headers(origin: str) -> None:
    preflight_headers = {
        "Origin": origin,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type",
    }
    with Backend(say(CLIP)) as backend, gateway_to(backend.url) as client:
        preflight = client.options("/run_inference/", headers=preflight_headers)
        answer = client.post("/run_inference/", content=REQUEST, headers={"Origin": origin})
    for response in (preflight, answer):
        assert response.status_code == 200
        assert response.headers["access-control-allow-origin"] == origin


@pytest.mark.parametrize("origin", [None, "https://app.example"])
def test_the_endpoints_timing_passes_with_the_gateways_own(origin: str | None) -> None:
    plays = (say(CLIP, Server_Timing="audio;dur=3.0"), say(CLIP))
    headers = {} if origin is None else {"Origin": origin}
    with Backend(*plays) as backend, gateway_to(backend.url) as client:
        timed, other = (
            client.post("/run_inference/", content=REQUEST, headers=headers) for _ in plays
        )
    assert re.fullmatch(r"audio;dur=3\.0, endpoint;dur=\d+\.\d", timed.headers["server-timing"])
    assert timed.headers.get("timing-allow-origin") == origin
    assert "server-timing" not in other.headers
    if origin is not None:
        exposed = timed.headers["access-control-expose-headers"].split(", ")
        assert exposed == ["Retry-After", "Server-Timing", "X-Request-ID"]


@pytest.mark.parametrize(
    "origin",
    ["https://evil.example", "http://localhost.evil.example", "https://app.example.evil", "null"],
)
def test_other_pages_are_refused_and_start_no_work(origin: str) -> None:
    headers = {
        "Origin": origin,
        "Content-Type": "text/plain",
    }  # browsers send this without a preflight
    with Backend(say(CLIP)) as backend, gateway_to(backend.url) as client:
        answer = client.post("/run_inference/", content=REQUEST, headers=headers)
    assert answer.status_code == 403
    assert "access-control-allow-origin" not in answer.headers
    assert backend.requests == []
    # A page without an origin sends null, which no option can allow.
    remedy = "not as a file" if origin == "null" else f"--allowed-origin {origin}"
    assert answer.json()["error"].startswith(f"origin={origin} is not allowed; ")
    assert remedy in answer.json()["error"]


@pytest.mark.parametrize("origin", ["app.example", "https://app.example/", "https://", ""])
def test_values_that_are_not_origins_are_refused(origin: str) -> None:
    with pytest.raises(InputError, match="not an origin; write it as browsers do"):
        create_gateway(Endpoint("http://127.0.0.1:1"), [origin])


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


def test_metrics_of_an_unreachable_endpoint_are_502() -> None:
    with gateway_to(f"http://127.0.0.1:{free_port()}") as client:
        answer = client.get("/metrics/")
    assert answer.status_code == 502
    assert "out of reach" in answer.json()["error"]


def test_redirects_of_the_endpoint_are_not_followed() -> None:
    """It may be another's, and the gateway reaches addresses that it doesn't."""
    asked: list[str] = []

    def inside(handler: BaseHTTPRequestHandler) -> None:
        asked.append(handler.path)
        say(b"secret")(handler)

    with Backend(inside, get=inside) as private:
        away = say(b"{}", 307, Location=f"{private.url}/secret")
        with Backend(away, get=away) as backend, gateway_to(backend.url) as client:
            health = client.get("/health")
            metrics = client.get("/metrics/")
            clip = client.post("/run_inference/", content=REQUEST)
    assert (health.status_code, health.json()["error"]) == (503, "status 307")
    assert (metrics.status_code, clip.status_code) == (307, 502)
    assert "location" not in {**metrics.headers, **clip.headers}
    assert asked == []


def test_a_hosted_endpoint_shows_no_metrics() -> None:
    with gateway_to("https://model.example/production/predict") as client:
        assert client.get("/metrics/").status_code == 404
