"""A bounded, repeatable part of `make fuzz`, against the server that all tests here share.

How long an answer takes is `make fuzz`' to judge.
"""

import logging
from typing import Any, get_args

import httpx
import pytest
import requests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from riffusion.datatypes import Mode
from riffusion.serving.addresses import RUN_INFERENCE_PATH
from riffusion.serving.local.truss_server import LocalTrussServer
from tests.fuzz.one_of_each import requests_of_each_mode
from tests.fuzz.requests import FuzzRequest, hostile_requests
from tests.fuzz.rules import fault_of
from tests.fuzz.schema_cases import case_strategies, fault_of_case
from tests.patience import PATIENCE_S

REPEATABLE = settings(
    derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck)
)


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    """The rules parse the bodies here, too, and would warn of every unknown field."""
    caplog.set_level(logging.ERROR, "riffusion")


def test_there_is_one_valid_request_of_each_mode(gateway_url: str, client: httpx.Client) -> None:
    valid = requests_of_each_mode()
    modes = {request.get("mode", "img2img") for request in valid}
    assert modes == {*get_args(Mode)} - {"unconditional"}
    for request in valid:
        answer = client.post(f"{gateway_url}{RUN_INFERENCE_PATH}/", json=request)
        assert answer.is_success, f"{str(request)[:200]}: {answer.text[:500]}"


def test_hostile_requests_are_answered_by_the_rules(
    truss_server: LocalTrussServer, gateway_url: str, client: httpx.Client, server_log: list[str]
) -> None:
    logged = len(server_log)

    @settings(REPEATABLE, max_examples=200)
    @given(hostile_requests())
    def check(request: FuzzRequest) -> None:
        url = (truss_server.base_url if request.direct else gateway_url) + request.path
        answer = client.request(
            request.method, url, content=request.content, headers=request.headers
        )
        fault = fault_of(request, answer.status_code, answer.headers, answer.content, seconds=0)
        assert fault is None, request

    check()
    assert [line for line in server_log[logged:] if "Traceback" in line] == []


def test_requests_that_the_schema_suggests_are_answered_as_it_says(
    gateway_url: str, client: httpx.Client
) -> None:
    schema = client.get(f"{gateway_url}/openapi.json").json()
    with requests.Session() as session:
        session.trust_env = False

        @settings(REPEATABLE, max_examples=60)
        @given(st.one_of(case_strategies(schema)))
        def check(case: Any) -> None:
            assert fault_of_case(case, gateway_url, session, timeout_s=PATIENCE_S) is None

        check()


def test_an_answer_that_the_schema_does_not_have_is_a_fault(
    gateway_url: str, client: httpx.Client
) -> None:
    schema = client.get(f"{gateway_url}/openapi.json").json()
    schema["paths"] = {"/health": schema["paths"]["/health"]}
    del schema["paths"]["/health"]["get"]["responses"]["200"]
    (strategy,) = case_strategies(schema)

    @settings(REPEATABLE, max_examples=1)
    @given(strategy)
    def check(case: Any) -> None:
        fault = fault_of_case(case, gateway_url, session, timeout_s=PATIENCE_S)
        assert "Undocumented status code" in (fault or "")

    with requests.Session() as session:
        session.trust_env = False
        check()
