"""The retry transports: which requests are sent again, and after which delays."""

import asyncio
import random
from collections.abc import Callable
from types import SimpleNamespace

import httpx
import pytest

from riffusion.serving import retries
from riffusion.serving.retries import (
    BUDGET_EXTENSION,
    AsyncRetryTransport,
    Retries,
    RetryTransport,
)

JITTER = 1.25
"""Largest factor between a delay and the delay that was asked for."""

Outcome = httpx.Response | httpx.TransportError
Send = Callable[[float, list[Outcome]], tuple[Outcome, list[float]]]


def busy(retry_after: str | None = None) -> httpx.Response:
    headers = {} if retry_after is None else {"Retry-After": retry_after}
    return httpx.Response(503, headers=headers)


def make_request(budget_s: float) -> httpx.Request:
    extensions = {BUDGET_EXTENSION: budget_s}
    return httpx.Request("POST", "http://endpoint", content=b"body", extensions=extensions)


def play(outcomes: list[Outcome]) -> httpx.MockTransport:
    """Gives one outcome per attempt, and removes it from the list."""

    def handle(received: httpx.Request) -> httpx.Response:
        assert received.content == b"body"
        outcome = outcomes.pop(0)
        if isinstance(outcome, httpx.TransportError):
            raise outcome
        return outcome

    return httpx.MockTransport(handle)


@pytest.fixture(params=["sync", "async"])
def send(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Send:
    """Sends one request within a budget; returns its outcome and the delays between attempts."""
    delays: list[float] = []

    async def sleep(delay_s: float) -> None:
        delays.append(delay_s)

    def send_sync(budget_s: float, outcomes: list[Outcome]) -> httpx.Response:
        # Not time.sleep itself, which other threads call.
        monkeypatch.setattr(retries, "time", SimpleNamespace(sleep=delays.append))
        with httpx.Client(transport=RetryTransport(play(outcomes))) as client:
            return client.send(make_request(budget_s))

    async def send_async(budget_s: float, outcomes: list[Outcome]) -> httpx.Response:
        monkeypatch.setattr(retries.asyncio, "sleep", sleep)
        async with httpx.AsyncClient(transport=AsyncRetryTransport(play(outcomes))) as client:
            return await client.send(make_request(budget_s))

    def send(budget_s: float, outcomes: list[Outcome]) -> tuple[Outcome, list[float]]:
        try:
            if request.param == "sync":
                return send_sync(budget_s, outcomes), delays
            return asyncio.run(send_async(budget_s, outcomes)), delays
        except httpx.TransportError as error:
            return error, delays

    return send


def test_a_busy_endpoint_is_asked_again_after_its_retry_after(send: Send) -> None:
    success = httpx.Response(200, content=b"clip")
    outcome, delays = send(30, [busy("4"), busy("1"), success])
    assert isinstance(outcome, httpx.Response)
    assert outcome.content == b"clip"
    assert 4 <= delays[0] <= 4 * JITTER
    assert 1 <= delays[1] <= JITTER


def test_without_retry_after_and_without_a_connection_there_are_three_more_attempts(
    send: Send,
) -> None:
    outcomes: list[Outcome] = [
        httpx.ConnectError("refused"),
        busy(),
        httpx.ConnectTimeout("slow"),
        busy("soon"),
        httpx.Response(200),
    ]
    outcome, delays = send(30, outcomes)
    assert isinstance(outcome, httpx.Response)
    assert outcome.status_code == 503
    assert len(outcomes) == 1
    for delay, least in zip(delays, (0.25, 0.5, 1.0), strict=True):
        assert least <= delay <= JITTER * least


def test_the_delays_stay_within_the_budget(send: Send) -> None:
    outcomes: list[Outcome] = [busy("4"), busy("4"), busy("4"), busy("4")]
    outcome, delays = send(11, outcomes)
    assert isinstance(outcome, httpx.Response)
    assert outcome.status_code == 503
    assert len(delays) == 2
    assert sum(delays) <= 11


def test_without_a_budget_a_request_is_sent_once(send: Send) -> None:
    for outcome in (busy("1"), busy(), httpx.ConnectError("refused")):
        outcomes: list[Outcome] = [outcome, httpx.Response(200)]
        send(0, outcomes)
        assert len(outcomes) == 1


def test_requests_without_the_extension_are_sent_once() -> None:
    with httpx.Client(transport=RetryTransport(play([busy("1")]))) as client:
        assert client.post("http://endpoint", content=b"body").status_code == 503


@pytest.mark.parametrize("status", [200, 304, 400, 429, 500, 502, 504])
def test_other_responses_are_final(status: int, send: Send) -> None:
    outcomes: list[Outcome] = [httpx.Response(status, headers={"Retry-After": "1"}), busy()]
    outcome, delays = send(100, outcomes)
    assert isinstance(outcome, httpx.Response)
    assert outcome.status_code == status
    assert delays == []
    assert len(outcomes) == 1


@pytest.mark.parametrize("kind", [httpx.ReadTimeout, httpx.ReadError, httpx.RemoteProtocolError])
def test_what_the_endpoint_may_have_worked_on_is_not_repeated(
    kind: type[httpx.TransportError], send: Send
) -> None:
    outcomes: list[Outcome] = [kind("gone"), httpx.Response(200)]
    outcome, delays = send(100, outcomes)
    assert isinstance(outcome, kind)
    assert delays == []
    assert len(outcomes) == 1


def test_delays_differ_between_clients() -> None:
    delays = {Retries(100, random.Random(seed)).delay_after(busy("4")) for seed in range(50)}
    assert len(delays) == 50
