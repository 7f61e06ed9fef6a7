"""Passes one request to the endpoint and its response back, whatever the endpoint does.

A stream is passed on line by line. If it breaks off, ends without a result or is silent for too
long, its last line is an error event. Any other response is read completely first, and passed on
only if it is a clip or an error.

The endpoint counts the deadline of a request from when it has it. The gateway counts the time
before that, too, in which the endpoint is busy or being started: a clip, or the beginning of a
stream, that isn't there by then is an error.
"""

import asyncio
import json
import logging
from collections.abc import AsyncIterator

import anyio
import httpx
from fastapi import Response
from fastapi.responses import JSONResponse, StreamingResponse
from starlette.types import Receive, Scope, Send

from riffusion.errors import EndpointError
from riffusion.serving.answer_body import (
    MAX_ANSWER_BYTES,
    LineSplitter,
    check_not_compressed,
)
from riffusion.serving.client import MSGPACK, Endpoint
from riffusion.serving.request_deadline import deadline_in
from riffusion.serving.request_id import REQUEST_ID, current_request_id
from riffusion.serving.retries import DEADLINE_EXTENSION
from riffusion.serving.tracing import TRACEPARENT, current_traceparent

logger = logging.getLogger(__name__)

SERVER_TIMING = "server-timing"
"""Milliseconds per stage (W3C Server Timing). A stream has them in its result event."""
NDJSON = "application/x-ndjson"
"""Media type of a stream: one JSON object per line."""
_DEADLINE_GRACE_S = 1.0
"""Time after its deadline in which an endpoint may say itself that a request has exceeded it."""
_PASSED_HEADERS = ("content-type", "retry-after", SERVER_TIMING)


class ReverseProxy:
    """Passes requests on to one endpoint.

    Args:
        endpoint: where the requests go.
        client: made by `endpoint.async_client`; whoever made it closes it.
    """

    def __init__(self, endpoint: Endpoint, client: httpx.AsyncClient) -> None:
        self._endpoint = endpoint
        self._client = client

    async def forward(self, body: bytes, content_type: str) -> Response:
        """The endpoint's response, or a JSON error. Cancelling it also stops the endpoint's work.

        Args:
            body: body of the request.
            content_type: of the body, as `Endpoint.request` takes it.
        """
        try:
            upstream = await self._send(body, content_type)
            headers = {
                name: upstream.headers[name] for name in _PASSED_HEADERS if name in upstream.headers
            }
            if upstream.headers.get("content-type", "").startswith(NDJSON):
                return _StreamRelay(self._endpoint, upstream, headers)
            content = await self._read(upstream)
        except EndpointError as error:
            logger.warning("%s", error)
            return JSONResponse({"error": str(error)}, error.status or 502)
        if content is None or not _is_plausible(content, upstream):
            logger.warning("%s answered with neither JSON nor a clip", self._endpoint)
            message = (
                f"the endpoint's answer (status {upstream.status_code}) is neither a clip nor an "
                "error; check that the address is a Riffusion endpoint"
            )
            return JSONResponse({"error": message}, 502)
        return Response(content, upstream.status_code, headers)

    async def _send(self, body: bytes, content_type: str) -> httpx.Response:
        """The endpoint's response; its body is not read yet.

        Raises:
            EndpointError: the endpoint can't be reached, or took too long.
        """
        deadline_s = deadline_in(body)
        limit_s = None if deadline_s is None else deadline_s + _DEADLINE_GRACE_S
        try:
            request = self._endpoint.request(body, content_type)
            if (request_id := current_request_id.get()) is not None:
                request.headers[REQUEST_ID] = request_id
            if (traceparent := current_traceparent.get()) is not None:
                request.headers[TRACEPARENT] = traceparent
            async with asyncio.timeout(limit_s):
                return await self._client.send(request, stream=True)
        except TimeoutError as error:  # httpx has exceptions of its own
            raise EndpointError(f"not done within deadline_s={deadline_s:g}", 504) from error
        except httpx.RequestError as error:
            raise self._endpoint.unreachable(error) from error

    async def _read(self, upstream: httpx.Response) -> bytes | None:
        """The whole body of the response; None if it is larger than any clip.

        Raises:
            EndpointError: the body broke off, took too long, or is compressed.
        """
        content = bytearray()
        try:
            check_not_compressed(upstream)
            async with asyncio.timeout_at(upstream.request.extensions[DEADLINE_EXTENSION]):
                async for chunk in upstream.aiter_raw():
                    content += chunk
                    if len(content) > MAX_ANSWER_BYTES:
                        return None
        except TimeoutError as error:
            raise self._endpoint.unreachable(httpx.ReadTimeout("")) from error
        except httpx.RequestError as error:
            raise self._endpoint.unreachable(error) from error
        finally:
            await _close(upstream)
        return bytes(content)


class _StreamRelay(StreamingResponse):
    """Passes on a stream of JSON lines as it arrives, and closes it when the client leaves."""

    def __init__(
        self, endpoint: Endpoint, upstream: httpx.Response, headers: dict[str, str]
    ) -> None:
        self._endpoint = endpoint
        self._upstream = upstream
        headers = {**headers, "Cache-Control": "no-store"}
        super().__init__(self._lines(), upstream.status_code, headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            await _close(self._upstream)  # also if the client left before the first line

    async def _lines(self) -> AsyncIterator[bytes]:
        """Complete lines only, and an error event in place of whatever else the endpoint sends."""
        lines = _json_lines(self._upstream)
        try:
            while True:
                async with asyncio.timeout(self._endpoint.timeout_s):
                    line, event = await anext(lines)
                yield line
                if event in ("result", "error"):
                    return
        except StopAsyncIteration:
            error = EndpointError(
                f"endpoint={self._endpoint.shown_url} ended its stream without a result; try again"
            )
        except TimeoutError:
            error = self._endpoint.unreachable(httpx.ReadTimeout(""))
        except httpx.RequestError as broken:
            error = self._endpoint.unreachable(broken)
        except EndpointError as too_large:
            error = too_large
        logger.warning("%s", error)
        yield json.dumps({"event": "error", "error": str(error)}).encode() + b"\n"


async def _json_lines(upstream: httpx.Response) -> AsyncIterator[tuple[bytes, object]]:
    """The lines of a stream that are JSON objects, and the `event` of each; others end it."""
    check_not_compressed(upstream)
    splitter = LineSplitter()
    async for chunk in upstream.aiter_raw():
        for line in splitter.lines_after(chunk):
            if (event := _event_in(line)) is None:
                return
            yield line + b"\n", event
    for line in splitter.last_line():
        if (event := _event_in(line)) is not None:
            yield line + b"\n", event


def _event_in(line: bytes) -> object:
    """The `event` of a line of JSON; None if it is no such line."""
    try:
        values = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return values.get("event") if isinstance(values, dict) else None


async def _close(upstream: httpx.Response) -> None:
    with anyio.CancelScope(shield=True):
        await upstream.aclose()


def _is_plausible(content: bytes, upstream: httpx.Response) -> bool:
    """Whether the body is one that endpoints send: a JSON object, with `error` if it failed."""
    if upstream.headers.get("content-type", "").startswith(MSGPACK):
        return upstream.is_success  # msgpack, as the request asked for
    try:
        values = json.loads(content)
    except (ValueError, RecursionError):
        return False
    return isinstance(values, dict) and (upstream.is_success or "error" in values)
