import json
import logging
import random
from typing import Any

import httpx
import pytest

from riffusion.errors import EndpointError
from riffusion.serving.client import (
    API_KEY_VARIABLES,
    DEFAULT_URL,
    Endpoint,
    Retries,
    predict_url,
)
from tests.serving.backends import Backend, break_off, hang_up, say
from tests.serving.conftest import free_port

PAYLOAD: dict[str, Any] = {"start": {"prompt": "bells", "seed": 1}}
CLIP = {"image": "data:image/jpeg;base64,YQ==", "duration_s": 5.12}
KEY = "key-that-nobody-may-see"


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
def test_what_is_no_address_is_named(url: str) -> None:
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


@pytest.mark.parametrize("play", [say(b"[]"), say(b"<html>", 200, "text/html"), hang_up])
def test_nonsense_is_an_error(play: Any) -> None:
    with Backend(play) as backend, pytest.raises(EndpointError, match="endpoint="):
        Endpoint(backend.url).predict(PAYLOAD)


def test_an_endpoint_that_is_away_is_named_with_the_remedy() -> None:
    endpoint = Endpoint(f"http://127.0.0.1:{free_port()}", retry_budget_s=0)
    with pytest.raises(EndpointError, match=r"out of reach.*riffusion serve") as caught:
        endpoint.predict(PAYLOAD)
    assert caught.value.status == 502


def test_waiting_stays_within_the_budget() -> None:
    busy = say(b'{"error": "busy"}', 503, Retry_After="1")
    with Backend(busy) as backend:
        with pytest.raises(EndpointError, match="busy") as caught:
            Endpoint(backend.url, retry_budget_s=1.5).predict(PAYLOAD)
        assert caught.value.status == 503
    assert len(backend.requests) == 2


def test_a_refusal_without_a_time_is_asked_again_a_few_times() -> None:
    with (
        Backend(say(b'{"error": "busy"}', 503)) as backend,
        pytest.raises(EndpointError, match="busy"),
    ):
        Endpoint(backend.url, retry_budget_s=10).predict(PAYLOAD)
    assert len(backend.requests) == 4


@pytest.mark.parametrize("status", [200, 400, 429, 500, 502, 504])
def test_nothing_but_a_refusal_with_503_is_repeated(status: int) -> None:
    response = httpx.Response(status, headers={"Retry-After": "1"})
    assert Retries(100).delay_after_response(response) is None
    for error in (httpx.ReadTimeout(""), httpx.ReadError(""), httpx.RemoteProtocolError("")):
        assert Retries(100).delay_after_error(error) is None


def test_delays_are_never_shorter_than_asked_for_and_differ() -> None:
    busy = httpx.Response(503, headers={"Retry-After": "4"})
    delays = [Retries(100, random.Random(seed)).delay_after_response(busy) for seed in range(50)]
    assert all(delay is not None and 4 <= delay <= 5 for delay in delays)
    assert len(set(delays)) == 50
    away = Retries(100, random.Random(0))
    waits = [away.delay_after_error(httpx.ConnectError("")) for _ in range(4)]
    assert waits[3] is None
    for wait, least in zip(waits, (0.25, 0.5, 1.0), strict=False):
        assert wait is not None
        assert least <= wait <= 1.25 * least


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


def test_the_key_goes_into_the_header_and_nowhere_else(
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
        ("http://host.example/production/predict", False),  # not in the clear
        ("http://127.0.0.1:8080", False),  # this machine needs none
    ],
)
def test_the_environments_key_goes_over_https_only(
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
