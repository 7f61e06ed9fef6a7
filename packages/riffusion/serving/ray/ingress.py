"""The Truss server's HTTP in front of the replicas, so that gateway and clients need not know.

    POST /v1/models/model:predict  a clip, or a stream of events
    GET  /v1/models/model          200 if a replica is ready, else 503
    GET  /metrics/                 Prometheus metrics of all replicas

Bodies are checked here, so an invalid request gets its 400 at once even if the queue is full. The
deadline of a request counts from here too, since it may wait long before a replica takes it.
"""

import asyncio
import json
import logging
import math
import time
from collections.abc import AsyncIterator, Mapping
from typing import Protocol

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from starlette.exceptions import HTTPException as HttpError
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from riffusion.errors import DeadlineExceededError, InputError
from riffusion.serving.addresses import PREDICT_PATH, READY_PATH
from riffusion.serving.gateway.incoming_body import CLOSE, read_body
from riffusion.serving.local.page_filter import PageFilter
from riffusion.serving.model.clip_service import INTERNAL_ERROR
from riffusion.serving.model.request_body import InferenceRequest, decode_msgpack, error_content
from riffusion.serving.model.responses import CLIENT_CLOSED_REQUEST, MSGPACK, error_response
from riffusion.serving.ray.clip_call import Call, ClipCall, Head, ReplicaLostError
from riffusion.serving.ray.metrics import merged_metrics
from riffusion.serving.request_id import REQUEST_ID, begin_request
from riffusion.serving.tracing import TRACEPARENT

logger = logging.getLogger(__name__)

PASSED_HEADERS = ("content-type", REQUEST_ID, TRACEPARENT)
"""What a replica gets of a request beside its body."""
_NEWEST_WEIGHT = 0.2
"""Weight of the newest clip in the moving average of the time between two clips."""
_MAX_RETRY_AFTER_S = 60


class Replicas(Protocol):
    """The replicas of the service, as the ingress needs them."""

    def start(self, inputs: InferenceRequest, headers: Mapping[str, str]) -> Call:
        """Send a request to one of them, with those of `PASSED_HEADERS` that it has."""

    def metrics(self) -> dict[str, str]:
        """Prometheus metrics of those that are ready, by name; a new one's page may be empty."""

    def is_lost(self, error: BaseException) -> bool:
        """Whether an exception of a call says that its replica has died."""

    def is_full(self, error: BaseException) -> bool:
        """Whether an exception of a call says that too many requests wait, or nobody serves."""


def create_ingress(replicas: Replicas) -> FastAPI:
    """The application in front of `replicas`."""
    ingress = _Ingress(replicas)
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False)
    app.add_exception_handler(HttpError, _http_error)
    app.add_middleware(PageFilter, host="0.0.0.0")  # the gateway is for web pages
    app.add_route(PREDICT_PATH, ingress.predict, methods=["POST"])
    app.add_route(READY_PATH, ingress.ready, methods=["GET"])
    for path in ("/metrics", "/metrics/"):
        app.add_route(path, ingress.metrics, methods=["GET"])
    return app


class _Ingress:
    """The request handlers, and what they know of the clips so far."""

    def __init__(self, replicas: Replicas) -> None:
        self._replicas = replicas
        self._num_open = 0
        self._mean_clip_s = 0.0

    async def predict(self, request: Request) -> Response:
        """Make a clip. If the client leaves, its work is stopped."""
        request_id = begin_request(request.headers.get(REQUEST_ID))
        try:
            response = await self._answer(request, request_id)
        except HttpError as error:
            response = await _http_error(request, error)
        response.headers[REQUEST_ID] = request_id
        return response

    async def _answer(self, request: Request, request_id: str) -> Response:
        started = time.monotonic()
        given = {name: request.headers[name] for name in PASSED_HEADERS if name in request.headers}
        headers = given | {REQUEST_ID: request_id}
        try:
            inputs = _parse(await read_body(request.receive), headers.get("content-type"))
        except InputError as error:
            return JSONResponse(error_content(error), 400, dict(CLOSE))
        except TimeoutError as error:
            return JSONResponse(error_content(error), 408, dict(CLOSE))
        except ClientDisconnect:
            return Response(status_code=CLIENT_CLOSED_REQUEST)
        call = ClipCall(lambda: self._replicas.start(inputs, headers), self._replicas.is_lost)
        deadline = None if inputs.deadline_s is None else started + inputs.deadline_s
        is_streaming = False
        self._num_open += 1
        try:
            async with asyncio.timeout(_seconds_until(deadline)):
                head, first = await call.begin()
            if inputs.stream and head[0] == 200:
                is_streaming = True
                lines = _lines(call, first, deadline, inputs)
                return _RelayedStream(call, head, lines)
            if head[0] == 200:
                self._record(time.monotonic() - started)
            return Response(first, head[0], head[1])
        except TimeoutError:
            return error_response(_deadline_exceeded(inputs))
        except Exception as error:
            return self._failure(error)
        finally:
            self._num_open -= 1
            if not is_streaming:
                call.cancel()

    async def ready(self, _: Request) -> Response:
        """Whether a replica is ready."""
        if self._replicas.metrics():
            return JSONResponse({})
        return JSONResponse({"error": "no replica is ready"}, 503)

    async def metrics(self, _: Request) -> Response:
        """Metrics of all replicas that are ready."""
        page = merged_metrics(self._replicas.metrics())
        return Response(page, media_type="text/plain; version=0.0.4")

    def _failure(self, error: Exception) -> Response:
        """The response for an exception of a call."""
        if self._replicas.is_full(error):
            retry_after_s = self._retry_after_s()
            message = f"too many requests are waiting; try again in {retry_after_s} s"
            headers = {"Retry-After": str(retry_after_s)}
            return JSONResponse(error_content(message), 503, headers)
        if isinstance(error, ReplicaLostError):
            return JSONResponse(error_content(error), 500)
        logger.error("a clip failed", exc_info=error)
        return JSONResponse(error_content(INTERNAL_ERROR), 500)

    def _record(self, clip_s: float) -> None:
        weight = _NEWEST_WEIGHT if self._mean_clip_s else 1.0
        self._mean_clip_s += weight * (clip_s - self._mean_clip_s)

    def _retry_after_s(self) -> int:
        """Estimated time until the next of the open requests is done; at least 1 s."""
        estimate_s = math.ceil(self._mean_clip_s / max(1, self._num_open))
        return min(max(1, estimate_s), _MAX_RETRY_AFTER_S)


class _RelayedStream(StreamingResponse):
    """A stream of JSON lines. The work stops when the client leaves, even before the first line."""

    def __init__(self, call: ClipCall, head: Head, lines: AsyncIterator[bytes]) -> None:
        super().__init__(lines, head[0], head[1])
        self._call = call

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._call.cancel()


async def _lines(
    call: ClipCall, first: bytes, deadline: float | None, inputs: InferenceRequest
) -> AsyncIterator[bytes]:
    """The lines of a stream; whatever goes wrong, the last one is a result or an error event."""
    yield first
    rest = call.rest()
    try:
        while True:
            async with asyncio.timeout(_seconds_until(deadline)):
                line = await anext(rest)
            yield line
    except StopAsyncIteration:
        return
    except TimeoutError:
        message = str(_deadline_exceeded(inputs))
    except ReplicaLostError as error:
        message = str(error)
    except Exception:
        logger.exception("a streamed clip failed")
        message = INTERNAL_ERROR
    yield json.dumps({"event": "error", "error": message}).encode() + b"\n"


def _parse(body: bytes, content_type: str | None) -> InferenceRequest:
    """The request in a body.

    Raises:
        HTTPException: it is not valid; status 400.
        InputError: it is not msgpack.
    """
    if content_type != MSGPACK:
        return InferenceRequest.parse_raw(body)
    return InferenceRequest.parse_obj(decode_msgpack(body))


def _seconds_until(deadline: float | None) -> float | None:
    return None if deadline is None else deadline - time.monotonic()


def _deadline_exceeded(inputs: InferenceRequest) -> DeadlineExceededError:
    return DeadlineExceededError(f"not done within deadline_s={inputs.deadline_s:g}")


async def _http_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, HttpError)  # it is registered for this class only
    return JSONResponse(error_content(error.detail), error.status_code, error.headers)
