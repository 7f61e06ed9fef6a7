"""Limits per client: how requests are counted, and the gateway that answers 429."""

import ipaddress
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler
from unittest import mock

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from riffusion.errors import TooManyRequestsError
from riffusion.serving.addresses import networks_of
from riffusion.serving.gateway import client_limits
from riffusion.serving.gateway.client_limits import ClientLimits, client_from
from tests.patience import PATIENCE_S, wait_until
from tests.serving.backends import Backend, hang_up, say
from tests.serving.gateways import CLIP, REQUEST, gateway_to
from tests.serving.predict_calls import WEB_APP_REQUEST


class Clock:
    """The time module of the limits, with a time that the test sets, and no time of day."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def monotonic(self) -> float:
        return self.now_s


@contextmanager
def stopped_clock() -> Iterator[Clock]:
    clock = Clock()
    with mock.patch("riffusion.serving.gateway.client_limits.time", clock):
        yield clock


def is_allowed(limits: ClientLimits, client: str = "a") -> bool:
    try:
        with limits.slot(client):
            return True
    except TooManyRequestsError:
        return False


@given(st.lists(st.integers(0, 160), max_size=60), st.integers(1, 5))
@example([0, 80, 160], 1)
def test_no_minute_has_more_requests_than_allowed(pauses: list[int], most: int) -> None:
    with stopped_clock() as clock:
        limits = ClientLimits(most, 0)
        allowed: list[float] = []
        for pause in pauses:
            clock.now_s += pause / 4  # sums of quarters of a second are exact
            ages = [clock.now_s - time for time in allowed]
            if is_allowed(limits):
                assert sum(age < 60 for age in ages) < most  # refused requests don't count
                allowed.append(clock.now_s)
            else:
                assert sum(age < 60 for age in ages) >= most


def test_a_request_is_allowed_after_its_retry_after_and_not_before() -> None:
    with stopped_clock() as clock:
        limits = ClientLimits(2, 0)
        assert is_allowed(limits)
        clock.now_s += 10.5
        assert is_allowed(limits)
        with pytest.raises(TooManyRequestsError, match=r"2 requests per minute.*in 50 s") as error:
            limits.slot("a").__enter__()
        assert is_allowed(limits, "b")
        clock.now_s += error.value.retry_after_s - 1
        assert not is_allowed(limits)
        clock.now_s += 1
        assert is_allowed(limits)


def test_the_memory_for_clients_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_limits, "_MAX_CLIENTS", 3)
    with stopped_clock():
        limits = ClientLimits(1, 0)
        assert [is_allowed(limits, client) for client in "aabc"] == [True, False, True, True]
        assert not is_allowed(limits, "c")
        assert is_allowed(limits, "d")  # a fourth client: the counts start again
        assert is_allowed(limits, "a")
        assert not is_allowed(limits, "d")


def test_slots_are_released_whatever_happens_to_the_request() -> None:
    limits = ClientLimits(0, 2)
    with ExitStack() as slots:
        for client in ("a", "a", "b"):
            slots.enter_context(limits.slot(client))
        assert not is_allowed(limits)
        assert is_allowed(limits, "b")
    with pytest.raises(RuntimeError), limits.slot("a"):
        raise RuntimeError
    with limits.slot("a"):
        assert is_allowed(limits)


@pytest.mark.parametrize(
    ("first", "second", "are_one"),
    [
        ("192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("2001:db8::1", "2001:db8::2:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("testclient", "testclient", True),
    ],
)
def test_clients_are_ipv4_addresses_or_ipv6_networks(
    first: str, second: str, are_one: bool
) -> None:
    keys = [client_from({"type": "http", "client": (host, 1)}) for host in (first, second)]
    assert (keys[0] == keys[1]) == are_one
    assert client_from({"type": "http", "client": None}) == ""


def test_too_many_per_minute_are_429_and_start_no_work() -> None:
    limits = ClientLimits(2, 0)
    with Backend(say(CLIP)) as backend, gateway_to(backend.url, limits=limits) as client:
        origin = {"Origin": "https://app.example"}
        statuses = [client.post("/run_inference/", content=REQUEST).status_code for _ in "ab"]
        large = b" " * 2**22  # the client reads the response only after it has sent the whole body
        refused = client.post("/v1/models/model:predict", content=large, headers=origin)
        assert client.get("/health").status_code != 429
    assert statuses == [200, 200]
    assert refused.status_code == 429
    assert 50 <= int(refused.headers["retry-after"]) <= 60
    assert list(refused.json()) == ["error"]
    assert "at most 2 requests per minute are allowed" in refused.json()["error"]
    assert refused.headers["access-control-allow-origin"] == "https://app.example"
    assert "Retry-After" in refused.headers["access-control-expose-headers"]
    assert len(backend.requests) == 2


def test_too_many_at_once_are_429_until_one_is_done() -> None:
    arrived = threading.Semaphore(0)

    def play(handler: BaseHTTPRequestHandler) -> None:
        arrived.release()
        backend.released.wait(PATIENCE_S)
        say(CLIP)(handler)

    backend = Backend(play)
    limits = ClientLimits(0, 4)
    with backend, gateway_to(backend.url, limits=limits) as client, ThreadPoolExecutor(4) as pool:
        asking = [pool.submit(client.post, "/run_inference/", content=REQUEST) for _ in range(4)]
        for _ in asking:
            assert arrived.acquire(timeout=PATIENCE_S)
        refused = client.post("/run_inference/", content=REQUEST)
        backend.released.set()
        assert [answer.result().status_code for answer in asking] == [200] * 4
        assert client.post("/run_inference/", content=REQUEST).status_code == 200
    assert refused.status_code == 429
    assert refused.headers["retry-after"] == "1"
    assert "at most 4 requests at once are allowed" in refused.json()["error"]


def test_a_stream_holds_its_slot_until_its_end() -> None:
    line = b'{"event": "progress", "step": 1, "steps": 2}\n'
    result = b'{"event": "result"}\n'

    def play(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", "application/x-ndjson")
        handler.send_header("Content-Length", str(len(line + result)))
        handler.end_headers()
        handler.wfile.write(line)
        backend.released.wait(PATIENCE_S)
        handler.wfile.write(result)

    backend = Backend(play)
    limits = ClientLimits(0, 1)
    with backend, gateway_to(backend.url, limits=limits) as client:
        with client.stream("POST", "/run_inference/", content=REQUEST) as answer:
            lines = answer.iter_lines()
            assert next(lines) == line.decode().strip()
            assert client.post("/run_inference/", content=REQUEST).status_code == 429
            backend.released.set()
            assert list(lines) == [result.decode().strip()]
        # The slot is free a moment after the last line has arrived.
        wait_until(
            lambda: client.post("/run_inference/", content=REQUEST).status_code == 200,
            "the stream's slot was not released",
        )


@pytest.mark.parametrize("play", [hang_up, say(b"{}", 500)])
def test_failures_release_their_slots(play: object) -> None:
    limits = ClientLimits(0, 1)
    with Backend(play) as backend, gateway_to(backend.url, limits=limits) as client:  # type: ignore[arg-type]
        statuses = [client.post("/run_inference/", content=REQUEST).status_code for _ in range(3)]
    assert statuses == [502] * 3


@pytest.fixture
def forwarded() -> Iterator[list[dict[str, str]]]:
    yield [{"X-Forwarded-For": address} for address in ("192.0.2.1", "192.0.2.2", "192.0.2.1")]


def test_forwarded_addresses_of_untrusted_peers_are_ignored(
    forwarded: list[dict[str, str]],
) -> None:
    with (
        Backend(say(CLIP)) as backend,
        gateway_to(backend.url, limits=ClientLimits(1, 0)) as client,
    ):
        statuses = [
            client.post("/run_inference/", content=REQUEST, headers=headers).status_code
            for headers in forwarded
        ]
    assert statuses == [200, 429, 429]


def test_a_trusted_proxy_names_the_client(forwarded: list[dict[str, str]]) -> None:
    with (
        Backend(say(CLIP)) as backend,
        gateway_to(
            backend.url, limits=ClientLimits(1, 0), trusted_proxies=("127.0.0.0/8",)
        ) as client,
    ):
        statuses = [
            client.post("/run_inference/", content=REQUEST, headers=headers).status_code
            for headers in forwarded
        ]
    assert statuses == [200, 200, 429]


def test_proxies_match_the_addresses_that_sockets_report() -> None:
    """A socket that listens on :: reports IPv4 addresses in their IPv6-mapped form."""
    networks = networks_of(["10.0.0.0/8", "192.0.2.1", "2001:db8::/32"])

    def is_trusted(address: str) -> bool:
        return any(ipaddress.ip_address(address) in network for network in networks)

    for address in ("10.1.2.3", "::ffff:10.1.2.3", "::ffff:192.0.2.1", "2001:db8::1"):
        assert is_trusted(address)
    for address in ("11.0.0.1", "::ffff:11.0.0.1", "::ffff:192.0.2.2", "::10.1.2.3"):
        assert not is_trusted(address)


def test_the_public_web_app_jams_within_the_default_limits() -> None:
    """It requests one clip at a time, until three are ready; here a minute without a pause."""
    first = json.loads(WEB_APP_REQUEST)
    with Backend(say(CLIP)) as backend, gateway_to(backend.url, limits=ClientLimits()) as client:
        for number in range(4 * 12):
            request = {**first, "alpha": number % 4 / 4}
            answer = client.post(
                "/run_inference/",
                content=json.dumps(request, separators=(",", ":")),
                headers={"Content-Type": "application/json"},
            )
            assert (answer.status_code, answer.content) == (200, CLIP)
    bodies = [json.loads(body) for _, _, body in backend.requests]
    assert bodies[1] == {**first, "alpha": 0.25}
