"""The ingress in front of replicas that are played here; none of this needs Ray."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import httpx
import msgpack
import pytest

from riffusion.serving.addresses import PREDICT_PATH, READY_PATH
from riffusion.serving.gateway.model_info import model_info
from riffusion.serving.model.clip_service import INTERNAL_ERROR
from riffusion.serving.model.request_body import InferenceRequest
from riffusion.serving.ray import clip_call
from riffusion.serving.ray.clip_call import MAX_ATTEMPTS, Call, Head
from riffusion.serving.ray.ingress import create_ingress
from riffusion.serving.ray.metrics import merged_metrics
from riffusion.serving.request_id import REQUEST_ID
from riffusion.serving.tracing import TRACEPARENT

BODY = {"start": {"prompt": "bells", "seed": 1}}
CLIP: list[Head | bytes] = [(200, {"content-type": "application/json"}), b'{"image"', b': "a"}']
STREAM: list[Head | bytes] = [
    (200, {"content-type": "application/x-ndjson"}),
    b'{"event": "progress", "step": 1, "steps": 2}\n',
    b'{"event": "result"}\n',
]
PAGE = '# TYPE riffusion_clips_total counter\nriffusion_clips_total{outcome="done"} 3\n'


class DiedError(Exception):
    """A replica died."""


class FullError(Exception):
    """Too many wait."""


class PlayedCall:
    """Yields `parts`; an exception among them is raised, and None waits for ever."""

    def __init__(self, parts: list[Head | bytes | Exception | None]) -> None:
        self._parts = iter(parts)
        self.is_cancelled = False

    def __aiter__(self) -> AsyncIterator[Head | bytes]:
        return self

    async def __anext__(self) -> Head | bytes:
        try:
            part = next(self._parts)
        except StopIteration:
            raise StopAsyncIteration from None
        if part is None:
            await asyncio.Event().wait()
        if isinstance(part, Exception):
            raise part
        assert part is not None
        return part

    def cancel(self) -> None:
        self.is_cancelled = True


class PlayedReplicas:
    """Answers each request with the next of `answers`, and repeats the last one."""

    def __init__(self, *answers: list[Any], pages: dict[str, str] | None = None) -> None:
        self._answers = list(answers)
        self._pages = pages or {}
        self.calls: list[PlayedCall] = []
        self.requests: list[tuple[InferenceRequest, Mapping[str, str]]] = []

    def start(self, inputs: InferenceRequest, headers: Mapping[str, str]) -> Call:
        self.requests.append((inputs, headers))
        answers = self._answers
        self.calls.append(PlayedCall(answers.pop(0) if len(answers) > 1 else answers[0]))
        return self.calls[-1]

    def metrics(self) -> dict[str, str]:
        return self._pages

    def is_lost(self, error: BaseException) -> bool:
        return isinstance(error, DiedError)

    def is_full(self, error: BaseException) -> bool:
        return isinstance(error, FullError)


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clip_call, "_PAUSE_S", 0.0)


def ask(
    replicas: PlayedReplicas, path: str = PREDICT_PATH, method: str = "POST", **options: Any
) -> httpx.Response:
    async def send() -> httpx.Response:
        transport = httpx.ASGITransport(create_ingress(replicas))
        async with httpx.AsyncClient(transport=transport, base_url="http://ray") as client:
            return await client.request(method, path, **options)

    return asyncio.run(send())


def lines_of(response: httpx.Response) -> list[dict[str, Any]]:
    return [json.loads(line) for line in response.content.splitlines()]


def test_a_clip_is_passed_on() -> None:
    replicas = PlayedReplicas(CLIP)
    response = ask(replicas, json=BODY)
    assert (response.status_code, response.json()) == (200, {"image": "a"})
    (passed,) = replicas.requests
    request_id = response.headers[REQUEST_ID]
    assert passed == (
        InferenceRequest.parse(BODY),
        {"content-type": "application/json", REQUEST_ID: request_id},
    )
    assert not replicas.calls[0].is_cancelled  # it has ended by itself


def test_a_replica_gets_the_id_and_the_span_of_the_request() -> None:
    replicas = PlayedReplicas(CLIP)
    span = f"00-{'a' * 32}-{'b' * 16}-01"
    headers = {REQUEST_ID: "mine", TRACEPARENT: span, "Authorization": "secret"}
    response = ask(replicas, json=BODY, headers=headers)
    assert response.headers[REQUEST_ID] == "mine"
    ((_, passed),) = replicas.requests
    assert passed == {"content-type": "application/json", REQUEST_ID: "mine", TRACEPARENT: span}


def test_a_refusal_has_an_id_that_is_fit_for_logs() -> None:
    response = ask(PlayedReplicas(CLIP), content=b"{", headers={REQUEST_ID: "two words"})
    assert response.status_code == 400
    assert response.headers[REQUEST_ID].isalnum()


@pytest.mark.parametrize("num_parts", range(len(CLIP)))
def test_a_clip_is_made_again_wherever_its_replica_dies(num_parts: int) -> None:
    replicas = PlayedReplicas([*CLIP[:num_parts], DiedError()], CLIP)
    assert ask(replicas, json=BODY).json() == {"image": "a"}
    assert len(replicas.calls) == 2


def test_a_request_that_kills_replicas_does_not_kill_all_of_them() -> None:
    replicas = PlayedReplicas([DiedError()])
    response = ask(replicas, json=BODY)
    message = f"{MAX_ATTEMPTS} replicas died while they made the clip"
    assert (response.status_code, response.json()) == (500, {"error": message})
    assert len(replicas.calls) == MAX_ATTEMPTS


@pytest.mark.parametrize("num_parts", [0, 1])
def test_a_stream_begins_again_while_nothing_was_sent(num_parts: int) -> None:
    replicas = PlayedReplicas([*STREAM[:num_parts], DiedError()], STREAM)
    response = ask(replicas, json={**BODY, "stream": True})
    assert response.headers["content-type"] == "application/x-ndjson"
    assert [line["event"] for line in lines_of(response)] == ["progress", "result"]


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (DiedError(), "the replica that made the clip died in the middle of the stream; try again"),
        (ValueError("secret"), INTERNAL_ERROR),
    ],
)
def test_a_stream_that_breaks_off_ends_in_an_error_event(error: Exception, message: str) -> None:
    replicas = PlayedReplicas([*STREAM[:2], error], STREAM)
    events = lines_of(ask(replicas, json={**BODY, "stream": True}))
    assert events[0]["event"] == "progress"
    assert events[1:] == [{"event": "error", "error": message}]
    assert len(replicas.calls) == 1


def test_deadlines_count_while_a_request_waits() -> None:
    replicas = PlayedReplicas([None])
    response = ask(replicas, json={**BODY, "deadline_s": 0.01})
    message = "not done within deadline_s=0.01"
    assert (response.status_code, response.json()) == (504, {"error": message})
    assert replicas.calls[0].is_cancelled


def test_the_deadline_of_a_stream_is_an_error_event() -> None:
    replicas = PlayedReplicas([*STREAM[:2], None])
    events = lines_of(ask(replicas, json={**BODY, "stream": True, "deadline_s": 0.2}))
    assert events[-1] == {"event": "error", "error": "not done within deadline_s=0.2"}
    assert replicas.calls[0].is_cancelled


def test_full_queues_are_503_with_a_time_to_come_back() -> None:
    response = ask(PlayedReplicas([FullError()]), json=BODY)
    assert (response.status_code, response.headers["retry-after"]) == (503, "1")
    assert response.json() == {"error": "too many requests are waiting; try again in 1 s"}


def test_a_refusal_of_a_replica_is_passed_on_with_its_headers() -> None:
    refusal = [(503, {"content-type": "application/json", "retry-after": "7"}), b'{"error": "x"}']
    for stream in (False, True):
        response = ask(PlayedReplicas(refusal), json={**BODY, "stream": stream})
        assert (response.status_code, response.headers["retry-after"]) == (503, "7")
        assert response.json() == {"error": "x"}


def test_unexpected_errors_say_nothing_of_the_inside() -> None:
    response = ask(PlayedReplicas([ValueError("secret")]), json=BODY)
    assert (response.status_code, response.json()) == (500, {"error": INTERNAL_ERROR})


def test_invalid_bodies_reach_no_replica() -> None:
    replicas = PlayedReplicas(CLIP)
    response = ask(replicas, content=b'{"start": {"prompt": "bells"}}')
    assert (response.status_code, response.json()) == (
        400,
        {"error": "start.seed: Field required"},
    )
    assert not replicas.calls


def test_msgpack() -> None:
    headers = {"Content-Type": "application/octet-stream"}
    replicas = PlayedReplicas(CLIP)
    ask(replicas, content=msgpack.packb(BODY), headers=headers)
    ((inputs, passed),) = replicas.requests
    assert inputs == InferenceRequest.parse(BODY)
    assert passed["content-type"] == headers["Content-Type"]
    for broken in (b"", b"\xc1", b"\x81", b"\x91" * 2000):
        response = ask(replicas, content=broken, headers=headers)
        assert response.status_code == 400, broken
        assert response.json()["error"].startswith("request: the body is not msgpack: ")
    array = {b"nd": True, b"type": "|O", b"kind": b"", b"shape": (1,), b"data": b"A" * 8}
    response = ask(replicas, content=msgpack.packb({**BODY, "mode": array}), headers=headers)
    assert response.json() == {"error": "request: a key in msgpack is not text"}
    response = ask(replicas, content=msgpack.packb([1]), headers=headers)
    assert response.json() == {"error": "request: the body must be a JSON object, not list"}


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", PREDICT_PATH, 405), ("GET", "/nothing", 404)]
)
def test_errors_of_the_address_are_json(method: str, path: str, status: int) -> None:
    response = ask(PlayedReplicas(CLIP), path, method)
    assert response.status_code == status
    assert response.json().keys() == {"error"}


def test_it_is_ready_while_a_replica_is() -> None:
    assert ask(PlayedReplicas(CLIP), READY_PATH, "GET").status_code == 503
    for page in (PAGE, ""):
        assert ask(PlayedReplicas(CLIP, pages={"a": page}), READY_PATH, "GET").status_code == 200


def test_metrics_of_all_replicas_are_on_one_page() -> None:
    page = ask(
        PlayedReplicas(CLIP, pages={"a": PAGE, "b": PAGE, "new": ""}), "/metrics/", "GET"
    ).text
    for name in ("a", "b"):
        assert f'riffusion_clips_total{{outcome="done",replica="{name}"}} 3.0\n' in page
    assert page.count("# TYPE riffusion_clips_total counter") == 1


def test_loras_of_several_replicas_are_listed_once() -> None:
    page = '# TYPE riffusion_lora gauge\nriffusion_lora{id="bells"} 1\n'
    merged = merged_metrics({"a": page, "b": page}).decode()
    assert model_info(merged)["loras"] == ["bells"]


def test_a_client_that_leaves_stops_the_work() -> None:
    """Serve cancels the handler; in a stream, starlette does."""
    replicas = PlayedReplicas([None])
    asyncio.run(leave(replicas, BODY, lambda: bool(replicas.calls)))
    assert replicas.calls[0].is_cancelled
    streaming = PlayedReplicas([*STREAM[:2], None])
    asyncio.run(leave(streaming, {**BODY, "stream": True}, lambda: bool(streaming.calls)))
    assert streaming.calls[0].is_cancelled


async def leave(replicas: PlayedReplicas, body: object, until: Callable[[], bool]) -> None:
    """Cancel a request once `until` is true, and a little later."""
    transport = httpx.ASGITransport(create_ingress(replicas))
    async with httpx.AsyncClient(transport=transport, base_url="http://ray") as client:
        asking = asyncio.create_task(client.post(PREDICT_PATH, json=body))
        while not until():
            await asyncio.sleep(0)
        for _ in range(20):
            await asyncio.sleep(0)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
