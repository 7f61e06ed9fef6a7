import json
import logging
import threading
import time
from typing import Any

import httpx
import pytest
import uvicorn

from riffusion.errors import EndpointError
from riffusion.serving.client import (
    API_KEY_VARIABLES,
    DEFAULT_URL,
    IDLE_S,
    Endpoint,
    predict_url,
)
from tests.patience import wait_until
from tests.serving.backends import Backend, break_off, hang_up, say
from tests.serving.conftest import free_port

PAYLOAD: dict[str, Any] = {"start": {"prompt": "bells", "seed": 1}}
CLIP = {"image": "data:image/jpeg;base64,YQ==", "duration_s": 5.12}
KEY = "a-secret-key"


@pytest.fixture(autouse=True)
def no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in API_KEY_VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://127.0.0.1:8080", DEFAULT_URL),
        ("http://127.0.0.1:8080/", DEFAULT_URL),
        (DEFAULT_URL, DEFAULT_URL),
        (
            "https://model-abc.api.example/production/predict",
            "https://model-abc.api.example/production/predict",
        ),
        ("https://host.example/music/", "https://host.example/music/v1/models/model:predict"),
    ],
)
def test_base_and_full_addresses(url: str, expected: str) -> None:
    assert str(predict_url(url)) == expected


@pytest.mark.parametrize("url", ["", "localhost:8080", "ftp://host", "http://", "http://[::1"])
def test_invalid_addresses_are_named(url: str) -> None:
    with pytest.raises(EndpointError, match="url="):
        Endpoint(url)


def test_predict_returns_the_clip() -> None:
    with Backend(say(json.dumps(CLIP).encode())) as backend:
        assert Endpoint(backend.url).predict(PAYLOAD) == CLIP
    ((path, headers, body),) = backend.requests
    assert path == "/v1/models/model:predict"
    assert json.loads(body) == PAYLOAD
    assert "authorization" not in headers


def test_errors_carry_the_servers_status_and_message() -> None:
    with Backend(say(b'{"error": "start.seed: Field required"}', 400)) as backend:
        with pytest.raises(EndpointError, match=r"^start\.seed: Field required$") as caught:
            Endpoint(backend.url).predict(PAYLOAD)
        assert caught.value.status == 400
    assert len(backend.requests) == 1


@pytest.mark.parametrize(
    "play",
    [
        say(b"[]"),
        say(b"<html>", 200, "text/html"),
        hang_up,
        break_off(b'{"image": ', "application/json"),
    ],
)
def test_nonsense_is_an_error(play: Any) -> None:
    with Backend(play) as backend, pytest.raises(EndpointError, match="endpoint="):
        Endpoint(backend.url).predict(PAYLOAD)


def test_an_unreachable_endpoint_is_named_with_the_remedy() -> None:
    endpoint = Endpoint(f"http://127.0.0.1:{free_port()}", retry_budget_s=0)
    with pytest.raises(EndpointError, match=r"out of reach.*riffusion serve") as caught:
        endpoint.predict(PAYLOAD)
    assert caught.value.status == 502


def test_a_busy_endpoint_is_tried_again_within_the_budget() -> None:
    busy = say(b'{"error": "busy"}', 503, Retry_After="1")
    with Backend(busy) as backend:
        with pytest.raises(EndpointError, match="busy") as caught:
            Endpoint(backend.url, retry_budget_s=1.5).predict(PAYLOAD)
        assert caught.value.status == 503
    assert len(backend.requests) == 2


def test_stream_yields_progress_and_the_result() -> None:
    events = [{"event": "progress", "step": 1, "steps": 1}, {"event": "result", **CLIP}]
    text = "".join(json.dumps(event) + "\n" for event in events).encode()
    with Backend(say(text, 200, "application/x-ndjson")) as backend:
        assert list(Endpoint(backend.url).stream(PAYLOAD)) == events
    assert json.loads(backend.requests[0][2]) == {**PAYLOAD, "stream": True}


@pytest.mark.parametrize(
    ("play", "message"),
    [
        (say(b'{"event": "error", "error": "start: bad"}\n'), "start: bad"),
        (say(b'{"event": "progress"}\n'), "without a result"),
        (break_off(b'{"event": "progress"}\n'), "endpoint="),
        (say(b'{"error": "alpha: too large"}', 400), "alpha: too large"),
    ],
)
def test_a_stream_without_a_result_is_an_error(play: Any, message: str) -> None:
    with Backend(play) as backend, pytest.raises(EndpointError, match=message):
        list(Endpoint(backend.url).stream(PAYLOAD))


def test_the_key_is_in_the_header_only(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    with Backend(say(json.dumps(CLIP).encode())) as backend:
        endpoint = Endpoint(backend.url, api_key=KEY)
        endpoint.predict(PAYLOAD)
    assert backend.requests[0][1]["authorization"] == f"Api-Key {KEY}"
    assert KEY not in repr(endpoint)
    assert KEY not in caplog.text


@pytest.mark.parametrize("variable", API_KEY_VARIABLES)
@pytest.mark.parametrize(
    ("url", "is_sent"),
    [
        ("https://host.example/production/predict", True),
        ("http://host.example/production/predict", False),  # never unencrypted
        ("http://127.0.0.1:8080", False),  # this machine needs no key
    ],
)
def test_the_key_from_the_environment_is_sent_over_https_only(
    variable: str, url: str, is_sent: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, KEY)
    headers = Endpoint(url).request(b"{}").headers
    assert headers.get("Authorization") == (f"Api-Key {KEY}" if is_sent else None)


def test_credentials_in_an_address_are_not_shown() -> None:
    endpoint = Endpoint("https://user:secret@example.org/predict?api_key=hidden", retry_budget_s=0)
    failure = endpoint.unreachable(httpx.ConnectError("refused"))
    for text in (repr(endpoint), endpoint.shown_url, str(failure)):
        assert "https://example.org/predict" in text
        assert "secret" not in text
        assert "hidden" not in text
    assert endpoint.predict_url.params["api_key"] == "hidden"


@pytest.mark.parametrize(
    ("url", "environment", "proxy"),
    [
        ("https://host.example/predict", {"HTTPS_PROXY": "http://proxy:1"}, "http://proxy:1"),
        ("http://host.example/predict", {"HTTPS_PROXY": "http://proxy:1"}, None),
        ("http://host.example/predict", {"ALL_PROXY": "proxy:1"}, "http://proxy:1"),
        ("https://host.example/predict", {"ALL_PROXY": "http://proxy:1", "NO_PROXY": "*"}, None),
        (
            "https://host.example/predict",
            {"ALL_PROXY": "http://proxy:1", "NO_PROXY": "example"},
            None,
        ),
        ("http://127.0.0.1:8080", {"ALL_PROXY": "http://proxy:1"}, None),
    ],
)
def test_hosted_endpoints_are_reached_through_the_environments_proxy(
    url: str, environment: dict[str, str], proxy: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    proxies: list[object] = []
    monkeypatch.setattr(
        httpx, "HTTPTransport", lambda proxy, **_: proxies.append(proxy) or httpx.BaseTransport()
    )
    with Endpoint(url).client():
        assert proxies == [proxy]


def test_idle_connections_are_given_up_before_a_server_closes_them() -> None:
    """A request on a connection that its server is closing would get no answer."""
    ports: list[int] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        ports.append(scope["client"][1])
        headers = [(b"content-length", b"0")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b""})

    config = uvicorn.Config(app, port=free_port(), lifespan="off", log_level="error")
    assert config.timeout_keep_alive > 2 * IDLE_S
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        wait_until(lambda: server.started, "the server doesn't start")
        with Endpoint(f"http://127.0.0.1:{config.port}").client() as client:
            for pause_s in (0.0, 0.0, IDLE_S + 0.5):
                time.sleep(pause_s)
                client.get(f"http://127.0.0.1:{config.port}/")
    finally:
        server.should_exit = True
        thread.join()
    first, second, third = ports
    assert first == second != third
