"""Clients of the soak. Each actor runs on a thread of its own until the soak stops."""

import json
import random
import socket
import threading
import time
import traceback
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Self
from urllib.parse import urlsplit

import httpx
from hypothesis import HealthCheck, Phase, given, seed, settings

from riffusion.serving.addresses import RUN_INFERENCE_PATH
from riffusion.serving.client import IDLE_S
from tests.fuzz.requests import FuzzRequest, hostile_requests
from tests.fuzz.rules import fault_of
from tests.soak.requests import Request
from tests.soak.verdicts import Answer, Book

TIMEOUT_S = 120.0
"""A request without an answer for so long hangs."""
Solo = Mapping[str, Mapping[str, Any]]
"""Clips by the JSON of their requests, made while nothing else was asked for."""


def key(request: Request) -> str:
    """A request as a key of `Solo`."""
    return json.dumps(request, sort_keys=True)


class Caller:
    """Sends one client's requests to the gateway; as a context manager it closes its connections.

    Args:
        gateway_url: of the gateway, which trusts X-Forwarded-For.
        address: of the client; each has limits of its own.
    """

    def __init__(self, gateway_url: str, address: str, timeout_s: float = TIMEOUT_S) -> None:
        self.address = address
        self.base_url = gateway_url
        self._client = httpx.Client(
            timeout=timeout_s,
            trust_env=False,
            headers={"X-Forwarded-For": address},
            limits=httpx.Limits(keepalive_expiry=IDLE_S),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def ask(self, request: Request) -> Answer:
        """Send a request, and read the answer to its end."""
        started = time.monotonic()
        try:
            url = f"{self.base_url}{RUN_INFERENCE_PATH}/"
            answer = self._client.post(url, json=request)
        except httpx.HTTPError as error:
            return Answer(0, b"", started, time.monotonic(), repr(error))
        return Answer(answer.status_code, answer.content, started, time.monotonic())

    def send(self, request: FuzzRequest) -> httpx.Response:
        """Send a hostile request."""
        return self._client.request(
            request.method,
            self.base_url + request.path,
            content=request.content,
            headers=request.headers,
        )

    def connect(self) -> socket.socket:
        """A TCP connection to the gateway."""
        address = urlsplit(self.base_url)
        return socket.create_connection((address.hostname, address.port), 10)

    def raw(self, request: Request) -> bytes:
        """A request's bytes, for clients that read slowly or leave."""
        body = json.dumps(request).encode()
        head = (
            f"POST {RUN_INFERENCE_PATH}/ HTTP/1.1\r\nHost: localhost\r\n"
            f"X-Forwarded-For: {self.address}\r\nContent-Type: application/json\r\n"
            f"Connection: close\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body


class Actor:
    """What all actors have.

    Args:
        name: for the report.
        caller: one client.
        book: for the verdicts.
        solo: what answers have to be.
        requests: to choose from.
        stop: set when the soak ends.
        pause_s: mean time between two requests.
        noise: decides everything that is random.
    """

    def __init__(
        self,
        name: str,
        caller: Caller,
        book: Book,
        solo: Solo,
        requests: Sequence[Request],
        stop: threading.Event,
        pause_s: float,
        noise: random.Random,
    ) -> None:
        self.name = name
        self._caller = caller
        self._book = book
        self._solo = solo
        self._requests = requests
        self._stop = stop
        self._pause_s = pause_s
        self._noise = noise

    def run(self) -> None:
        """Act until the soak stops."""
        while not self._stop.wait(self._noise.uniform(0, 2 * self._pause_s)):
            try:
                self.act(self._noise.choice(self._requests))
            except Exception:
                self._book.fault(self.name, f"the actor failed: {traceback.format_exc(limit=-3)}")

    def act(self, request: Request) -> None:
        """Make one request, or several."""
        self._book.judge(self.name, self._caller.ask(request), self._solo.get(key(request)))


class Streamer(Actor):
    """Asks for streams; the result is the same as without."""

    def act(self, request: Request) -> None:
        answer = self._caller.ask({**request, "stream": True})
        self._book.judge(self.name, answer, self._solo.get(key(request)))


class Hurried(Actor):
    """Has deadlines, most too short."""

    def act(self, request: Request) -> None:
        deadline_s = self._noise.choice([0.01, 0.1, 0.5, 2.0])
        answer = self._caller.ask({**request, "deadline_s": deadline_s})
        self._book.judge(self.name, answer, self._solo.get(key(request)))


class Leaver(Actor):
    """Leaves before the answer is there."""

    def act(self, request: Request) -> None:
        body = self._caller.raw({**request, "stream": self._noise.random() < 0.5})
        try:
            with self._caller.connect() as connection:
                connection.sendall(body[: self._noise.choice([len(body), len(body) // 2])])
                time.sleep(self._noise.uniform(0, 1))
        except OSError:
            self._book.count(self.name, "no connection")
            return
        self._book.count(self.name, "left")


class SlowReader(Actor):
    """Reads an answer in small pieces, with pauses."""

    def act(self, request: Request) -> None:
        started = time.monotonic()
        received = bytearray()
        error = ""
        try:
            with self._caller.connect() as connection:
                connection.settimeout(TIMEOUT_S)
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                connection.sendall(self._caller.raw(request))
                while piece := connection.recv(2**15):
                    received += piece
                    time.sleep(0.02)
        except OSError as broken:
            error = repr(broken)
        self._book.judge(
            self.name, _answer(bytes(received), started, error), self._solo.get(key(request))
        )


class Flooder(Actor):
    """Sends many requests at once; most must be refused, and each must be answered."""

    def act(self, request: Request) -> None:
        with ThreadPoolExecutor(24) as threads:
            answers = list(threads.map(self._caller.ask, [request] * 24))
        for answer in answers:
            self._book.judge(self.name, answer, self._solo.get(key(request)))


class Fuzz(Actor):
    """Sends hostile requests."""

    def act(self, request: Request) -> None:
        made = _hostile(self._noise.getrandbits(32))
        started = time.monotonic()
        try:
            answer = self._caller.send(made)
        except httpx.HTTPError as error:
            self._book.count(self.name, "no answer")
            if "gateway" not in self._book.troubles.between(started, time.monotonic()):
                self._book.fault(self.name, f"no answer: {error!r} to {made}")
            return
        self._book.count(self.name, str(answer.status_code))
        felt = self._book.troubles.between(started, time.monotonic())
        if felt & {"truss", "disk"} and answer.status_code in (500, 502):
            return
        fault = fault_of(made, answer.status_code, answer.headers, answer.content, seconds=0)
        if fault and not ("error" in fault and felt & {"truss", "disk"}):
            self._book.fault(self.name, f"{fault}\n    {made}")


def _hostile(number: int) -> FuzzRequest:
    """The first request of hypothesis with this seed."""
    found: list[FuzzRequest] = []

    @seed(number)
    @settings(
        max_examples=2,  # the first one is the simplest
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(hostile_requests())
    def take(request: FuzzRequest) -> None:
        found.append(request)

    take()
    return found[-1]


def _answer(received: bytes, started: float, error: str) -> Answer:
    """The answer in a response's raw bytes."""
    head, _, body = received.partition(b"\r\n\r\n")
    if not head:
        return Answer(0, b"", started, time.monotonic(), error or "the connection was closed")
    lines = head.lower().splitlines()
    length = next((int(line[15:]) for line in lines if line.startswith(b"content-length:")), None)
    if error or (length is not None and len(body) < length):
        return Answer(0, b"", started, time.monotonic(), error or "the answer broke off")
    return Answer(int(lines[0].split()[1]), body, started, time.monotonic())


ACTORS: dict[str, tuple[type[Actor], float]] = {
    "clips": (Actor, 2.0),
    "edits": (Actor, 4.0),
    "streams": (Streamer, 3.0),
    "deadlines": (Hurried, 2.0),
    "leaving clients": (Leaver, 1.5),
    "slow readers": (SlowReader, 5.0),
    "floods": (Flooder, 15.0),
    "hostile bodies": (Fuzz, 0.3),
}
"""Actors by name, with the mean pause between two of their requests in seconds."""
