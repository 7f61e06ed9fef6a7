"""Sends hypothesis' requests from several threads, and collects the faults of the answers."""

import collections
import itertools
import threading
import time
from collections.abc import Callable
from typing import Any

import httpx
import requests
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from riffusion.serving.gateway.openapi import openapi_schema
from tests.fuzz.requests import FuzzRequest, hostile_requests
from tests.fuzz.rules import MAX_ANSWER_S, fault_of

SCHEMA_SHARE = 0.15
"""Share of the requests that schemathesis makes."""
_BATCH = 100
"""Requests per run of hypothesis, which remembers all that it has tried."""
_ONLY_NEW = settings(
    database=None,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


class Fuzzer:
    """Counts answers and keeps faults.

    Args:
        gateway_url, truss_url: the servers.
        first_seed: hypothesis' first seed; each batch of requests has the next one.
    """

    def __init__(self, gateway_url: str, truss_url: str, first_seed: int) -> None:
        self._gateway_url = gateway_url
        self._truss_url = truss_url
        self._seeds = itertools.count(first_seed)
        self._lock = threading.Lock()
        self.statuses: collections.Counter[int] = collections.Counter()
        self.faults: list[str] = []
        self.longest_s = 0.0
        self.num_sent = 0

    def send(self, client: httpx.Client, request: FuzzRequest) -> str | None:
        """Send one request; what is wrong with its answer, or None."""
        url = (self._truss_url if request.direct else self._gateway_url) + request.path
        started = time.monotonic()
        try:
            answer = client.request(
                request.method, url, content=request.content, headers=request.headers
            )
        except httpx.HTTPError as error:
            fault: str | None = f"no answer: {error!r}"
            status = 0
        else:
            status = answer.status_code
            seconds = time.monotonic() - started
            fault = fault_of(request, status, answer.headers, answer.content, seconds)
        self._record(status, time.monotonic() - started, fault, request)
        return fault

    def run(self, num_requests: int, num_threads: int) -> None:
        """Send `num_requests` more from `num_threads` threads."""
        total = self.num_sent + num_requests
        num_schema = round(SCHEMA_SHARE * num_requests)
        workers = [
            threading.Thread(target=self._hostile, args=(total - num_schema,)),
            threading.Thread(target=self._from_schema, args=(total,)),
        ]
        for _ in range(num_threads - 2):
            workers.append(threading.Thread(target=self._hostile, args=(total,)))
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()

    def _hostile(self, limit: int) -> None:
        with httpx.Client(timeout=2 * MAX_ANSWER_S, trust_env=False) as client:
            while self.num_sent < limit:
                _generate(
                    hostile_requests(), lambda made: self.send(client, made), next(self._seeds)
                )

    def _from_schema(self, limit: int) -> None:
        # schemathesis is imported by those who run this only
        from tests.fuzz.schema_cases import case_strategies, fault_of_case

        def send(case: Any) -> None:
            started = time.monotonic()
            try:
                fault = fault_of_case(case, self._gateway_url, session)
            except requests.RequestException as error:
                fault = f"no answer: {error!r}"
            self._record(0, time.monotonic() - started, fault, case)

        strategies = st.one_of(case_strategies(openapi_schema()))
        with requests.Session() as session:
            session.trust_env = False
            while self.num_sent < limit:
                _generate(strategies, send, next(self._seeds))

    def _record(self, status: int, seconds: float, fault: str | None, request: object) -> None:
        with self._lock:
            self.num_sent += 1
            self.statuses[status] += 1
            self.longest_s = max(self.longest_s, seconds)
            if fault is not None:
                self.faults.append(f"{fault}\n    {str(request)[:600]}")


def _generate(strategy: st.SearchStrategy[Any], send: Callable[[Any], object], number: int) -> None:
    @seed(number)
    @settings(_ONLY_NEW, max_examples=_BATCH)
    @given(strategy)
    def run(made: Any) -> None:
        send(made)

    run()
