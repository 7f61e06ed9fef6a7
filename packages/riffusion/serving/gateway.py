"""The web-facing server: what the public Riffusion web app calls, in front of an endpoint.

    POST /run_inference/          the web app's address  ┐  the endpoint's status and body,
    POST /v1/models/model:predict  the endpoint's own     ┘  streams included
    GET  /health                  whether the endpoint is ready
    GET  /seed_images, /masks     what requests may be painted over, see seed_pictures.py
    GET  /metrics/                the local Truss server's Prometheus metrics
    GET  /…                       the app's files, where a directory of them is given

It adds what a browser needs and a model server lacks: CORS, limits for each client (see
client_limits.py), a body limit before anything is stored, retries, and a JSON error when the
endpoint is away, hangs, or talks nonsense.
"""

import asyncio
import json
import logging
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import httpx
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect
from starlette.routing import Route
from starlette.staticfiles import StaticFiles

from riffusion.errors import EndpointError, InputError
from riffusion.seed_library import SeedLibrary
from riffusion.serving.client_limits import ClientLimits, ClientLimitsMiddleware
from riffusion.serving.endpoint import Endpoint, Retries
from riffusion.serving.request_body import MAX_BODY_BYTES, body_too_large_message
from riffusion.serving.seed_pictures import add_seed_pictures
from riffusion.serving.truss_server import PREDICT_PATH

logger = logging.getLogger(__name__)

DEFAULT_PORT = 3013
RUN_INFERENCE_PATH = "/run_inference"
LOCAL_ORIGINS = r"https?://(localhost|127\.0\.0\.1|\[::1\])(:\d+)?"
"""Pages of this machine, the origins that are allowed by default."""
MAX_ANSWER_BYTES = 256 * 2**20
_MAX_DRAINED_BYTES = 2**30
"""Of a body that is too large, so much is read and dropped: clients read answers after sending."""
_BODY_TIMEOUT_S = 60.0
"""For a client to send its request: a slow one keeps one of its places."""
_PASSED_HEADERS = ("content-type", "retry-after")
_HEALTH_TIMEOUT_S = 3.0
_CLIENT_CLOSED_REQUEST = 499


def create_gateway(
    endpoint: Endpoint,
    allowed_origins: Sequence[str] = (),
    app_dir: Path | None = None,
    library: SeedLibrary | None = None,
    limits: ClientLimits | None = None,
) -> FastAPI:
    """The gateway's application.

    Args:
        endpoint: answers the requests.
        allowed_origins: origins of pages that may use it, like `https://app.example`, beside this
            machine's and the gateway's own; `*` allows every page.
        app_dir: directory of a built web app to serve at `/`.
        library: seed images and masks to show; they should be the endpoint's.
        limits: what one client may ask of the endpoint; None for no limits.

    Raises:
        InputError: an allowed origin is none.
    """
    for origin in allowed_origins:
        _check_origin(origin)
    gateway = _Gateway(endpoint, allowed_origins)
    app = FastAPI(
        title="Riffusion gateway",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,  # a redirected POST loses its body
        lifespan=gateway.lifespan,
        exception_handlers={HTTPException: _http_error},
    )
    app.add_middleware(
        CORSMiddleware,
        allow_origins=list(allowed_origins),
        allow_origin_regex=LOCAL_ORIGINS,
        allow_methods=["GET", "POST"],
        allow_headers=["Content-Type"],
        expose_headers=["Retry-After"],
    )
    for path in (RUN_INFERENCE_PATH, RUN_INFERENCE_PATH + "/", PREDICT_PATH):
        app.routes.append(
            Route(path, gateway.predict, methods=["POST"], middleware=_limiting(limits))
        )
    app.add_route("/health", gateway.health, methods=["GET"])
    if library is not None:
        add_seed_pictures(app, library)
    for path in ("/metrics", "/metrics/"):
        app.add_route(path, gateway.metrics, methods=["GET"])
    if app_dir is not None:
        app.mount("/", StaticFiles(directory=app_dir, html=True))
    return app


class _Gateway:
    def __init__(self, endpoint: Endpoint, allowed_origins: Sequence[str]) -> None:
        self._endpoint = endpoint
        self._allowed_origins = frozenset(allowed_origins)
        self._client: httpx.AsyncClient | None = None

    @asynccontextmanager
    async def lifespan(self, _: FastAPI) -> AsyncIterator[None]:
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=16)
        async with httpx.AsyncClient(
            limits=limits, trust_env=not self._endpoint.is_local
        ) as client:
            self._client = client
            yield

    async def predict(self, request: Request) -> Response:
        """Pass a request on. Where the client leaves, the endpoint's work ends too."""
        if not self._is_origin_allowed(request):
            origin = request.headers["origin"]
            return _error(
                403,
                f"origin={origin} is not allowed; start the gateway with --allowed-origin {origin} "
                "or, if this page came through a proxy, with --trusted-proxy",
            )
        try:
            async with asyncio.timeout(_BODY_TIMEOUT_S):
                body = await _read_body(request)
        except InputError as error:
            return _error(400, str(error))
        except TimeoutError:
            return _error(408, f"the request did not arrive within {_BODY_TIMEOUT_S:g} s")
        except ClientDisconnect:
            return Response(status_code=_CLIENT_CLOSED_REQUEST)
        content_type = request.headers.get("content-type", "application/json")
        answering = asyncio.create_task(self._answer(body, content_type))
        leaving = asyncio.create_task(_wait_for_disconnect(request))
        try:
            await asyncio.wait({answering, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if answering.done():
                return answering.result()
            return Response(status_code=_CLIENT_CLOSED_REQUEST)
        finally:
            for task in (answering, leaving):
                task.cancel()
            await asyncio.gather(answering, leaving, return_exceptions=True)

    async def health(self, _: Request) -> Response:
        """200 if the endpoint is ready or doesn't say, 503 if it is away or still loading."""
        content: dict[str, str] = {"status": "ok", "endpoint": self._endpoint.shown_url}
        if self._endpoint.ready_url is None or self._client is None:
            return JSONResponse(content)
        try:
            answer = await self._client.get(self._endpoint.ready_url, timeout=_HEALTH_TIMEOUT_S)
        except httpx.TransportError as error:
            reason = str(error) or type(error).__name__
        else:
            if answer.is_success:
                return JSONResponse(content)
            reason = f"status {answer.status_code}"
        return JSONResponse({**content, "status": "unavailable", "error": reason}, 503)

    async def metrics(self, _: Request) -> Response:
        """The endpoint's metrics as they are."""
        if self._endpoint.metrics_url is None or self._client is None:
            return _error(404, "a hosted endpoint's metrics are on its host's pages")
        try:
            answer = await self._client.get(
                self._endpoint.metrics_url, timeout=_HEALTH_TIMEOUT_S, follow_redirects=True
            )
        except httpx.TransportError as error:
            gone = self._endpoint.unreachable(error)
            return _error(gone.status or 502, str(gone))
        media_type = answer.headers.get("content-type")
        return Response(answer.content, answer.status_code, media_type=media_type)

    async def _answer(self, body: bytes, content_type: str) -> Response:
        try:
            upstream = await self._send(self._endpoint.request(body, content_type))
        except EndpointError as error:
            logger.warning("%s", error)
            return _error(error.status or 502, str(error))
        headers = {
            name: upstream.headers[name] for name in _PASSED_HEADERS if name in upstream.headers
        }
        if upstream.headers.get("content-type", "").startswith("application/x-ndjson"):
            return StreamingResponse(
                self._relay(upstream),
                upstream.status_code,
                {**headers, "Cache-Control": "no-store"},
            )
        try:
            content = await _read_answer(upstream)
        except httpx.TransportError as error:
            gone = self._endpoint.unreachable(error)
            return _error(gone.status or 502, str(gone))
        if content is None or not _is_plausible(content, upstream):
            logger.warning("%s answered with neither JSON nor a clip", self._endpoint)
            return _error(
                502,
                f"the endpoint's answer (status {upstream.status_code}) was no clip and no error",
            )
        return Response(content, upstream.status_code, headers)

    async def _send(self, request: httpx.Request) -> httpx.Response:
        """The endpoint's answer, its body yet to be read.

        Raises:
            EndpointError: it can't be reached, or took too long.
        """
        assert self._client is not None  # the lifespan has begun
        retries = Retries(self._endpoint.retry_budget_s)
        while True:
            try:
                upstream = await self._client.send(request, stream=True)
            except httpx.TransportError as error:
                if (delay_s := retries.delay_after_error(error)) is None:
                    raise self._endpoint.unreachable(error) from error
            else:
                if (delay_s := retries.delay_after_response(upstream)) is None:
                    return upstream
                await upstream.aclose()
            await asyncio.sleep(delay_s)

    async def _relay(self, upstream: httpx.Response) -> AsyncIterator[bytes]:
        try:
            async for chunk in upstream.aiter_bytes():
                yield chunk
        except httpx.TransportError as error:
            line = {"event": "error", "error": str(self._endpoint.unreachable(error))}
            yield b"\n" + json.dumps(line).encode() + b"\n"
        finally:
            with anyio.CancelScope(shield=True):
                await upstream.aclose()

    def _is_origin_allowed(self, request: Request) -> bool:
        """CORS only hides answers; this keeps foreign pages from starting work at all."""
        origin = request.headers.get("origin")
        if origin is None or self._allowed_origins & {origin, "*"}:
            return True
        own = f"{request.url.scheme}://{request.headers.get('host')}"
        return origin == own or re.fullmatch(LOCAL_ORIGINS, origin) is not None


def _limiting(limits: ClientLimits | None) -> list[Middleware]:
    return [] if limits is None else [Middleware(ClientLimitsMiddleware, limits=limits)]


def _check_origin(origin: str) -> None:
    """Origins are compared as browsers send them, so one with a path would never match."""
    if origin != "*" and not re.fullmatch(r"[a-z][a-z0-9+.-]*://[^/\s]+", origin):
        raise InputError(
            f"{origin!r} is no origin; write it as browsers do, like https://app.example",
            field="allowed_origin",
        )


async def _read_body(request: Request) -> bytes:
    """The whole body.

    Raises:
        InputError: it is too large.
        ClientDisconnect: the client left.
    """
    body = bytearray()
    num_bytes = 0
    async for chunk in request.stream():
        num_bytes += len(chunk)
        if num_bytes <= MAX_BODY_BYTES:
            body += chunk
        elif num_bytes > _MAX_DRAINED_BYTES:
            break
    if num_bytes > MAX_BODY_BYTES:
        raise InputError(body_too_large_message(num_bytes), field="request")
    return bytes(body)


async def _read_answer(upstream: httpx.Response) -> bytes | None:
    """The answer's whole body, or None if it is larger than any clip."""
    content = bytearray()
    try:
        async for chunk in upstream.aiter_bytes():
            content += chunk
            if len(content) > MAX_ANSWER_BYTES:
                return None
    finally:
        with anyio.CancelScope(shield=True):
            await upstream.aclose()
    return bytes(content)


def _is_plausible(content: bytes, upstream: httpx.Response) -> bool:
    """Whether an answer is what an endpoint sends: a JSON object, with `error` if it is one."""
    if upstream.headers.get("content-type", "").startswith("application/octet-stream"):
        return upstream.is_success  # msgpack, as the request asked for
    try:
        values = json.loads(content)
    except ValueError:
        return False
    return isinstance(values, dict) and (upstream.is_success or "error" in values)


async def _wait_for_disconnect(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _http_error(_: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    detail = error.detail if isinstance(error, HTTPException) else "internal error"
    headers = error.headers if isinstance(error, HTTPException) else None
    return JSONResponse({"error": detail}, status, headers)


def _error(status: int, message: str) -> Response:
    return JSONResponse({"error": message}, status)
