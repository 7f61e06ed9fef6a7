"""One request to the endpoint and its answer back, whatever the endpoint does.

A request is sent again while it can't arrive or is refused. A stream is passed on as it comes, and
if it breaks off, it ends with an error event. Anything else is read first, and passed on if it is a
clip or an error.
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
from riffusion.serving.client import Endpoint, Retries

logger = logging.getLogger(__name__)

MAX_ANSWER_BYTES = 256 * 2**20
_PASSED_HEADERS = ("content-type", "retry-after")


class ReverseProxy:
    """Passes requests on to one endpoint.

    Args:
        endpoint: answers them.
        client: has the connections to it; closed by whoever made it.
    """

    def __init__(self, endpoint: Endpoint, client: httpx.AsyncClient) -> None:
        self._endpoint = endpoint
        self._client = client

    async def answer(self, body: bytes, content_type: str) -> Response:
        """The endpoint's answer, or a JSON error. Cancelling it ends the endpoint's work, too.

        Args:
            body: of the request.
            content_type: of the body, as `Endpoint.request` takes it.
        """
        try:
            upstream = await self._send(self._endpoint.request(body, content_type))
            headers = {
                name: upstream.headers[name] for name in _PASSED_HEADERS if name in upstream.headers
            }
            if upstream.headers.get("content-type", "").startswith("application/x-ndjson"):
                return _Relay(self._endpoint, upstream, headers)
            content = await self._read(upstream)
        except EndpointError as error:
            logger.warning("%s", error)
            return JSONResponse({"error": str(error)}, error.status or 502)
        if content is None or not _is_plausible(content, upstream):
            logger.warning("%s answered with neither JSON nor a clip", self._endpoint)
            message = (
                f"the endpoint's answer (status {upstream.status_code}) was no clip and no error"
            )
            return JSONResponse({"error": message}, 502)
        return Response(content, upstream.status_code, headers)

    async def _send(self, request: httpx.Request) -> httpx.Response:
        """The endpoint's answer, its body yet to be read.

        Raises:
            EndpointError: it can't be reached, or took too long.
        """
        retries = Retries(self._endpoint.retry_budget_s)
        while True:
            try:
                upstream = await self._client.send(request, stream=True)
            except httpx.RequestError as error:
                if (delay_s := retries.delay_after_error(error)) is None:
                    raise self._endpoint.unreachable(error) from error
            else:
                if (delay_s := retries.delay_after_response(upstream)) is None:
                    return upstream
                await upstream.aclose()
            await asyncio.sleep(delay_s)

    async def _read(self, upstream: httpx.Response) -> bytes | None:
        """The answer's whole body, or None if it is larger than any clip.

        Raises:
            EndpointError: it broke off, or isn't encoded as it says.
        """
        content = bytearray()
        try:
            async for chunk in upstream.aiter_bytes():
                content += chunk
                if len(content) > MAX_ANSWER_BYTES:
                    return None
        except httpx.RequestError as error:
            raise self._endpoint.unreachable(error) from error
        finally:
            await _close(upstream)
        return bytes(content)


class _Relay(StreamingResponse):
    """A stream of JSON lines, passed on as it comes. Where the client leaves, it is closed."""

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
        try:
            async for chunk in self._upstream.aiter_bytes():
                yield chunk
        except httpx.RequestError as error:
            line = {"event": "error", "error": str(self._endpoint.unreachable(error))}
            yield b"\n" + json.dumps(line).encode() + b"\n"


async def _close(upstream: httpx.Response) -> None:
    with anyio.CancelScope(shield=True):
        await upstream.aclose()


def _is_plausible(content: bytes, upstream: httpx.Response) -> bool:
    """Whether an answer is what an endpoint sends: a JSON object, with `error` if it is one."""
    if upstream.headers.get("content-type", "").startswith("application/octet-stream"):
        return upstream.is_success  # msgpack, as the request asked for
    try:
        values = json.loads(content)
    except (ValueError, RecursionError):
        return False
    return isinstance(values, dict) and (upstream.is_success or "error" in values)
