"""Deadlines in bodies that aren't parsed, and what the gateway does with them."""

import json
import time
from http.server import BaseHTTPRequestHandler

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from riffusion.serving.client import Endpoint
from riffusion.serving.gateway import reverse_proxy
from riffusion.serving.gateway.client_limits import ClientLimits
from riffusion.serving.request_deadline import deadline_in
from riffusion.serving.retries import BUDGET_EXTENSION
from tests.patience import PATIENCE_S
from tests.serving.backends import Backend, say
from tests.serving.gateways import gateway_to

DEADLINE_S = 0.3
BODY = json.dumps({"start": {"prompt": "bells", "seed": 1}, "deadline_s": DEADLINE_S}).encode()
LIMIT_S = 15.0
"""Far less than the endpoint would be waited for, with much time for a busy machine."""


@given(
    st.floats(1e-9, 3600) | st.integers(1, 3600),
    st.text(),
    st.sampled_from([None, 1]),
    st.booleans(),
)
def test_the_deadline_is_found_whatever_is_around_it(
    deadline_s: float, prompt: str, indent: int | None, is_ascii: bool
) -> None:
    values = {"start": {"prompt": prompt + '"deadline_s": 7', "seed": 1}, "deadline_s": deadline_s}
    body = json.dumps(values, indent=indent, ensure_ascii=is_ascii)
    assert deadline_in(body.encode("utf-8", "surrogatepass")) == deadline_s


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b'{"deadline_s": null}',
        b'{"deadline_s": -1}',
        b'{"deadline_s": "2"}',
        b'{"prompt": "deadline_s"}',
        json.dumps({"prompt": '"deadline_s": 2'}).encode(),
        b"\x81\xaadeadline_s\x02",
        b'"deadline_s"' * 1000,
    ],
)
def test_bodies_without_a_deadline_that_counts(body: bytes) -> None:
    assert deadline_in(body) is None


def test_a_client_waits_for_the_endpoint_no_longer_than_until_the_deadline() -> None:
    endpoint = Endpoint(retry_budget_s=30)
    budgets = [
        endpoint.request(body).extensions[BUDGET_EXTENSION]
        for body in (b"{}", b'{"deadline_s": 2}', b'{"deadline_s": 60}')
    ]
    assert budgets == [30, 2, 30]


def test_the_gateway_holds_a_request_no_longer_than_until_its_deadline() -> None:
    loading = say(b'{"error": "not ready"}', 503)
    hanging = Backend(lambda handler: hanging.hang(handler))
    with (
        Backend(loading) as backend,
        hanging,
        gateway_to(backend.url, retry_budget_s=60) as to_loading,
        gateway_to(hanging.url) as to_hanging,
    ):
        started_s = time.monotonic()
        answers = [to.post("/run_inference/", content=BODY) for to in (to_loading, to_hanging)]
        assert time.monotonic() - started_s < LIMIT_S
    assert [answer.status_code for answer in answers] == [503, 504]
    assert answers[1].json() == {"error": f"not done within deadline_s={DEADLINE_S}"}


def test_the_endpoint_may_say_itself_that_the_deadline_has_passed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reverse_proxy, "_DEADLINE_GRACE_S", PATIENCE_S)
    own = b'{"error": "said by the endpoint"}'

    def late(handler: BaseHTTPRequestHandler) -> None:
        time.sleep(DEADLINE_S)
        say(own, 504)(handler)

    with Backend(late) as backend, gateway_to(backend.url) as client:
        answer = client.post("/run_inference/", content=BODY)
    assert (answer.status_code, answer.content) == (504, own)


def test_a_client_that_leaves_is_not_waited_for() -> None:
    """Its slot is free while the endpoint still loads its model."""
    loading = say(b'{"error": "not ready"}', 503)
    limits = ClientLimits(0, 1)
    with (
        Backend(loading) as backend,
        gateway_to(backend.url, retry_budget_s=PATIENCE_S, limits=limits) as client,
    ):
        with pytest.raises(httpx.ReadTimeout):
            client.post("/run_inference/", content=b"{}", timeout=0.5)
        give_up_s = time.monotonic() + LIMIT_S
        while client.post("/run_inference/", content=BODY).status_code == 429:
            assert time.monotonic() < give_up_s
            time.sleep(0.05)
