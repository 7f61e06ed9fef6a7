"""Requests and checks that schemathesis derives from the gateway's OpenAPI schema."""

import contextlib
from collections.abc import Iterator
from typing import Any

import msgpack
import schemathesis
from hypothesis import strategies as st
from schemathesis.checks import CHECKS, load_all_checks
from schemathesis.core.failures import FailureGroup

from riffusion.serving.client import MSGPACK
from tests.fuzz.requests import cheap
from tests.fuzz.rules import MAX_ANSWER_S

NOT_OURS = {
    "not_a_server_error",  # 503 and 504 are allowed; `fault_of_case` has the rule
    "positive_data_acceptance",  # the schema's description lists the rules that it can't express
}


@schemathesis.serializer(MSGPACK)
def _msgpack(_: Any, value: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    with contextlib.suppress(OverflowError, ValueError, TypeError):
        return bytes(msgpack.packb(value, unicode_errors="surrogatepass"))
    return b"\xc1"


def case_strategies(schema: dict[str, Any]) -> list[st.SearchStrategy[schemathesis.Case]]:
    """A strategy for each operation: requests that the schema allows, and ones that it doesn't."""
    loaded = schemathesis.openapi.from_dict(schema)
    modes = (schemathesis.GenerationMode.NEGATIVE, schemathesis.GenerationMode.POSITIVE)
    return [
        st.one_of(list(_strategies(found.ok(), modes))) for found in loaded.get_all_operations()
    ]


def _strategies(operation: Any, modes: Any) -> Iterator[st.SearchStrategy[schemathesis.Case]]:
    for mode in modes:
        if mode == schemathesis.GenerationMode.POSITIVE:
            yield operation.as_strategy(generation_mode=mode).map(_cheap)
        elif operation.body:
            yield operation.as_strategy(generation_mode=mode)


def _cheap(case: schemathesis.Case) -> schemathesis.Case:
    if isinstance(case.body, dict):
        case.body = cheap(case.body, draws=False)
    return case


def fault_of_case(
    case: schemathesis.Case, base_url: str, session: Any, timeout_s: float = MAX_ANSWER_S
) -> str | None:
    """Send a request; what is wrong with its answer, or None.

    Raises:
        requests.RequestException: there was no answer in time.
    """
    response = case.call(base_url=base_url, session=session, timeout=timeout_s)
    if response.status_code >= 500 and response.status_code not in (503, 504):
        return f"status {response.status_code}: {response.text[:300]}"
    load_all_checks()
    checks = [CHECKS.get_one(name) for name in CHECKS.get_all_names() if name not in NOT_OURS]
    try:
        case.validate_response(response, checks=checks)
    except (AssertionError, FailureGroup) as failure:
        return str(failure)[:1500]
    return None
