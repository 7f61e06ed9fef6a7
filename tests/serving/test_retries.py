"""The retry transports: which requests are sent again, and after which delays."""

import asyncio
import random
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
import uvicorn

from riffusion.serving import retries
from riffusion.serving.retries import (
    BUDGET_EXTENSION,
    AsyncRetryTransport,
    Retries,
    RetryTransport,
)
from tests.patience import PATIENCE_S

JITTER = 1.25
"""Largest factor between a delay and the delay that was asked for."""

Outcome = httpx.Response | httpx.TransportError
Send = Callable[[float, list[Outcome]], tuple[Outcome, list[float]]]


def busy(retry_after: str | None = None) -> httpx.Response:
    headers = {} if retry_after is None else {"Retry-After": retry_after}
    return httpx.Response(503, headers=headers)


def unanswered() -> httpx.Response:
    """What uvicorn sends if the application has sent nothing."""
    headers = {"Content-Type": "text/plain; charset=utf-8", "Connection": "close"}
    return httpx.Response(500, headers=headers, content=b"Internal Server Error")


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
        # Not time.sleep itself, which other threads call; below, servers' event loops do.
        clock = SimpleNamespace(sleep=delays.append, monotonic=time.monotonic)
        monkeypatch.setattr(retries, "time", clock)
        with httpx.Client(transport=RetryTransport(play(outcomes))) as client:
            return client.send(make_request(budget_s))

    async def send_async(budget_s: float, outcomes: list[Outcome]) -> httpx.Response:
        own = SimpleNamespace(**(vars(asyncio) | {"sleep": sleep}))
        monkeypatch.setattr(retries, "asyncio", own)
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


def test_without_a_connection_there_are_three_more_attempts(send: Send) -> None:
    refused, slow = httpx.ConnectError("refused"), httpx.ConnectTimeout("slow")
    outcomes: list[Outcome] = [refused, slow, refused, slow, httpx.Response(200)]
    outcome, delays = send(30, outcomes)
    assert outcome is slow
    assert len(outcomes) == 1
    for delay, least in zip(delays, (0.25, 0.5, 1.0), strict=True):
        assert least <= delay <= JITTER * least


def test_an_endpoint_that_is_started_and_then_loads_its_model_is_waited_for(send: Send) -> None:
    """It answers 503 without Retry-After meanwhile, as Truss does."""
    starting = [httpx.ConnectError("refused") for _ in range(3)]
    outcomes: list[Outcome] = [*starting, *[busy() for _ in range(9)], httpx.Response(200)]
    outcome, delays = send(30, outcomes)
    assert isinstance(outcome, httpx.Response)
    assert outcome.status_code == 200
    assert len(delays) == 12
    assert all(1 <= delay <= JITTER for delay in delays[2:])


def test_an_endpoint_that_never_says_how_long_is_given_up_after_the_budget(send: Send) -> None:
    outcome, delays = send(30, [busy() if i else busy("soon") for i in range(40)])
    assert isinstance(outcome, httpx.Response)
    assert outcome.status_code == 503
    assert 30 - JITTER <= sum(delays) <= 30


class Restarting(httpx.MockTransport):
    """Answers, can't be reached `count` times, and answers again."""

    def __init__(self, count: int) -> None:
        self._outcomes = iter([True, *[False] * count, True])
        super().__init__(self._handle)

    def _handle(self, request: httpx.Request) -> httpx.Response:
        if not next(self._outcomes):
            raise httpx.ConnectError("refused")
        return httpx.Response(200)


@pytest.mark.parametrize(("budget_s", "count", "waits"), [(30, 20, True), (30, 40, False)])
def test_an_endpoint_that_has_answered_before_is_waited_for(
    budget_s: float, count: int, waits: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    delays: list[float] = []
    clock = SimpleNamespace(sleep=delays.append, monotonic=lambda: sum(delays))
    monkeypatch.setattr(retries, "time", clock)
    with httpx.Client(transport=RetryTransport(Restarting(count))) as client:
        assert client.send(make_request(budget_s)).is_success
        assert delays == []
        if waits:
            assert client.send(make_request(budget_s)).is_success
            assert len(delays) == count
        else:
            with pytest.raises(httpx.ConnectError):
                client.send(make_request(budget_s))
            assert budget_s - JITTER <= sum(delays) <= budget_s


def test_an_endpoint_that_has_answered_before_is_waited_for_with_asyncio(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    delays: list[float] = []

    async def sleep(delay_s: float) -> None:
        delays.append(delay_s)

    async def ask_twice() -> None:
        transport = AsyncRetryTransport(Restarting(20))
        async with httpx.AsyncClient(transport=transport) as client:
            for _ in range(2):
                assert (await client.send(make_request(30))).is_success

    monkeypatch.setattr(retries, "asyncio", SimpleNamespace(**(vars(asyncio) | {"sleep": sleep})))
    asyncio.run(ask_twice())
    assert len(delays) == 20


def test_attempts_that_take_long_count_too() -> None:
    """Nothing refuses them where a host is gone: each takes as long as connecting may."""
    request = Retries(0.05, was_reached=True)
    time.sleep(0.06)
    assert request.delay_after(httpx.ConnectTimeout("slow")) is None


def test_a_request_whose_process_died_is_sent_again_three_times(send: Send) -> None:
    success = httpx.Response(200, content=b"clip")
    outcome, _ = send(30, [unanswered(), success])
    assert isinstance(outcome, httpx.Response)
    assert outcome.content == b"clip"
    outcome, delays = send(30, [unanswered() for _ in range(4)])
    assert isinstance(outcome, httpx.Response)
    assert outcome.status_code == 500
    assert len(delays) == 1 + 3


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "application/json", "Connection": "close"},
        {"Content-Type": "text/plain", "Connection": "keep-alive"},
        {"Content-Type": "text/plain"},
    ],
)
def test_an_application_that_answers_500_is_not_asked_again(
    headers: dict[str, str], send: Send
) -> None:
    outcomes: list[Outcome] = [httpx.Response(500, headers=headers), busy()]
    send(30, outcomes)
    assert len(outcomes) == 1


def test_uvicorn_sends_that_if_its_application_has_sent_nothing() -> None:
    async def nothing(scope: Any, receive: Any, send: Any) -> None:
        del scope, receive, send

    async def ask() -> httpx.Response:
        server = uvicorn.Server(uvicorn.Config(nothing, port=0, lifespan="off", log_level=60))
        serving = asyncio.create_task(server.serve())
        while not server.started:
            await asyncio.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        async with httpx.AsyncClient(trust_env=False, timeout=PATIENCE_S) as client:
            response = await client.post(f"http://127.0.0.1:{port}")
        server.should_exit = True
        await serving
        return response

    response = asyncio.run(ask())
    assert Retries(30).delay_after(response) is not None


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
