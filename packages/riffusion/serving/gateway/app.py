"""The web-facing server: what the public Riffusion web app calls, in front of an endpoint.

    POST /run_inference/           the web app's address    ┐  status and body of the endpoint's
    POST /v1/models/model:predict  the endpoint's own one   ┘  response, streams included
    GET  /health                   whether the endpoint is ready
    GET  /info                     what the checkpoint can do, see model_info.py
    GET  /seed_images, /masks      init images and masks to choose from, see seed_images.py
    GET  /metrics/                 the local Truss server's Prometheus metrics
    GET  /openapi.json, /docs      the API's schema and a page to try it, see openapi.py
    GET  /…                        the web app's files, if a directory of them is given

It adds what a browser needs and a model server lacks: CORS, limits per client (client_limits.py),
a limit on bodies before they are stored (incoming_body.py), retries (client.py), and a JSON error
when the endpoint is unreachable, hangs, or sends neither a clip nor an error (reverse_proxy.py).
"""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect
from starlette.routing import Route
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from riffusion.errors import InputError
from riffusion.generation.seed_library import SeedLibrary
from riffusion.serving.addresses import PREDICT_PATH, RUN_INFERENCE_PATH
from riffusion.serving.answer_body import check_not_compressed
from riffusion.serving.client import JSON, MSGPACK, Endpoint
from riffusion.serving.gateway.body_memory import (
    RETRY_AFTER_S,
    TAKE,
    BodyMemory,
    BodyMemoryMiddleware,
)
from riffusion.serving.gateway.client_limits import ClientLimits, ClientLimitsMiddleware
from riffusion.serving.gateway.incoming_body import CLOSE, drop_body, read_body
from riffusion.serving.gateway.model_info import model_info
from riffusion.serving.gateway.openapi import add_api_docs
from riffusion.serving.gateway.origins import AllowedOrigins, remedy_for
from riffusion.serving.gateway.request_middleware import RequestMiddleware
from riffusion.serving.gateway.reverse_proxy import SERVER_TIMING, ReverseProxy
from riffusion.serving.gateway.seed_images import add_seed_images
from riffusion.serving.gateway.single_flight import SingleFlightCache
from riffusion.serving.request_id import REQUEST_ID
from riffusion.serving.tracing import TRACEPARENT, configure_tracing, stop_tracing

DEFAULT_PORT = 3013
_CHEAP_REQUESTS = 10
"""Requests of any kind that a client may make per request for a clip: a page has many parts."""
_CHECK_TIMEOUT_S = 3.0
_RETRY_HEALTH_S = 1
_CHECK_MAX_AGE_S = 1.0
"""The endpoint's health and metrics are fetched at most this often, for all clients together."""
_MAX_CHECK_BYTES = 4 * 2**20
"""Far more than the metrics of any server."""
_PLAIN = {"Accept-Encoding": "identity"}
_CLIENT_CLOSED_REQUEST = 499

_Page = tuple[int, bytes, str | None]
"""Status, body and content type of a response."""


def create_gateway(
    endpoint: Endpoint,
    allowed_origins: Sequence[str] = (),
    app_dir: Path | None = None,
    library: SeedLibrary | None = None,
    limits: ClientLimits | None = None,
) -> FastAPI:
    """The gateway's application.

    Args:
        endpoint: where requests for clips are sent.
        allowed_origins: origins of further pages that may use it, like `https://app.example`; `*`
            for every page. Pages of this machine always may, and so may the gateway's own page
            under an address or a host name without dots.
        app_dir: directory of a built web app to serve at `/`.
        library: seed images and masks to offer; they should be the endpoint's.
        limits: requests for clips that one client may make; it may make ten times as many
            requests of any kind. None for no limits.

    Raises:
        InputError: an allowed origin is not valid.
    """
    origins = AllowedOrigins(allowed_origins)
    gateway = _Gateway(endpoint, origins)
    app = FastAPI(
        title="Riffusion gateway",
        docs_url=None,  # FastAPI's page loads its scripts from other servers
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,  # a redirected POST loses its body
        lifespan=gateway.lifespan,
        exception_handlers={HTTPException: _http_error, Exception: _unexpected_error},
    )
    if limits is not None:
        app.add_middleware(ClientLimitsMiddleware, limits=limits.times(_CHEAP_REQUESTS))
    app.add_middleware(  # outside of the limits, so that pages can read the 429
        CORSMiddleware,
        **origins.cors_options,
        allow_methods=["GET", "POST"],
        allow_headers=["Content-Type", REQUEST_ID, TRACEPARENT],
        expose_headers=["Retry-After", "Server-Timing", REQUEST_ID],
    )
    # Inside of the limits, so that a flood of refused requests isn't logged line by line.
    inner = [Middleware(RequestMiddleware), Middleware(BodyMemoryMiddleware, memory=BodyMemory())]
    limiting = [] if limits is None else [Middleware(ClientLimitsMiddleware, limits=limits)]
    for path in (RUN_INFERENCE_PATH, RUN_INFERENCE_PATH + "/", PREDICT_PATH):
        app.routes.append(
            Route(path, gateway.predict, methods=["POST"], middleware=limiting + inner)
        )
    app.add_route("/health", gateway.health, methods=["GET"])
    app.add_route("/info", gateway.info, methods=["GET"])
    if library is not None:
        add_seed_images(app, library)
    for path in ("/metrics", "/metrics/"):
        app.add_route(path, gateway.metrics, methods=["GET"])
    add_api_docs(app, library is not None, endpoint.metrics_url is not None)
    if app_dir is not None:
        app.mount("/", _AppFiles(directory=app_dir, html=True))
    return app


class _Gateway:
    """The gateway's request handlers and the state that they share."""

    def __init__(self, endpoint: Endpoint, origins: AllowedOrigins) -> None:
        self._endpoint = endpoint
        self._origins = origins

    @asynccontextmanager
    async def lifespan(self, _: FastAPI) -> AsyncIterator[None]:
        """Hold the connections to the endpoint, and record spans, while the application runs."""
        configure_tracing("riffusion-gateway")
        async with self._endpoint.async_client() as client:
            self._client = client
            self._reverse_proxy = ReverseProxy(self._endpoint, client)
            self._readiness = SingleFlightCache(self._fetch_readiness, _CHECK_MAX_AGE_S)
            self._metrics = SingleFlightCache(self._fetch_metrics, _CHECK_MAX_AGE_S)
            yield
        stop_tracing()

    async def predict(self, request: Request) -> Response:
        """Pass a request on. If the client leaves, the endpoint's work is stopped too."""
        origin = request.headers.get("origin")
        host = request.headers.get("host", "")
        if not self._origins.allows(origin, request.url.scheme, host):
            headers = await drop_body(request.receive)
            remedy = remedy_for(origin or "")
            return _error(403, f"origin={(origin or '')[:100]} is not allowed; {remedy}", headers)
        try:
            body = await read_body(request.receive, request.scope[TAKE])
        except MemoryError:
            message = f"the bodies of all requests are too large; try again in {RETRY_AFTER_S} s"
            return _error(503, message, {"Retry-After": str(RETRY_AFTER_S), **CLOSE})
        except InputError as error:
            return _error(400, str(error), CLOSE)
        except TimeoutError as error:
            return _error(408, str(error), CLOSE)
        except ClientDisconnect:
            return Response(status_code=_CLIENT_CLOSED_REQUEST)
        media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        content_type = MSGPACK if media_type == MSGPACK else JSON  # as the Truss server decides
        started_s = time.monotonic()
        forwarding = asyncio.create_task(self._reverse_proxy.forward(body, content_type))
        disconnect = asyncio.create_task(_wait_for_disconnect(request))
        try:
            await asyncio.wait({forwarding, disconnect}, return_when=asyncio.FIRST_COMPLETED)
            if forwarding.done():
                return _with_own_timing(forwarding.result(), started_s, origin)
            return Response(status_code=_CLIENT_CLOSED_REQUEST)
        finally:
            for task in (forwarding, disconnect):
                task.cancel()
            await asyncio.gather(forwarding, disconnect, return_exceptions=True)

    async def health(self, _: Request) -> Response:
        """200 if the endpoint is ready or can't be asked, 503 if it is unreachable or loading."""
        content = {"status": "ok", "endpoint": self._endpoint.shown_url}
        reason = await self._readiness.get()
        if reason is None:
            return JSONResponse(content)
        unavailable = {**content, "status": "unavailable", "error": reason}
        return JSONResponse(unavailable, 503, {"Retry-After": str(_RETRY_HEALTH_S)})

    async def metrics(self, _: Request) -> Response:
        """The endpoint's metrics, unchanged."""
        if self._endpoint.metrics_url is None:
            return _error(404, "the host of a hosted endpoint shows its metrics")
        response = await self._metrics.get()
        if isinstance(response, httpx.RequestError):
            error = self._endpoint.unreachable(response)
            return _error(error.status or 502, str(error))
        status, content, media_type = response
        return Response(content, status, media_type=media_type)

    async def info(self, _: Request) -> Response:
        """What the endpoint's checkpoint can do, as its metrics say."""
        if self._endpoint.metrics_url is None:
            return _error(404, "a hosted endpoint does not say what its checkpoint can do")
        response = await self._metrics.get()
        if isinstance(response, httpx.RequestError):
            error = self._endpoint.unreachable(response)
            return _error(error.status or 502, str(error))
        status, content, _media_type = response
        try:
            return JSONResponse(model_info(content.decode() if status == 200 else ""))
        except (ValueError, KeyError):
            return _error(502, "the endpoint's metrics can't be read; is it a Truss server?")

    async def _fetch_readiness(self) -> str | None:
        """Why the endpoint is not ready; None if it is ready, or can't be asked."""
        if self._endpoint.ready_url is None:
            return None
        response = await self._get(self._endpoint.ready_url)
        if isinstance(response, httpx.RequestError):
            return str(response) or type(response).__name__
        status = response[0]
        return None if httpx.codes.is_success(status) else f"status {status}"

    async def _fetch_metrics(self) -> _Page | httpx.RequestError:
        assert self._endpoint.metrics_url is not None  # `metrics` has checked it
        return await self._get(self._endpoint.metrics_url)

    async def _get(self, url: httpx.URL) -> _Page | httpx.RequestError:
        try:
            async with (
                asyncio.timeout(_CHECK_TIMEOUT_S),  # httpx's limits apply to single reads
                self._client.stream("GET", url, headers=_PLAIN) as response,
            ):
                check_not_compressed(response)
                content = bytearray()
                async for chunk in response.aiter_raw():
                    content += chunk
                    if len(content) > _MAX_CHECK_BYTES:
                        return httpx.DecodingError(f"it is larger than {_MAX_CHECK_BYTES} bytes")
                return response.status_code, bytes(content), response.headers.get("content-type")
        except httpx.RequestError as error:
            return error
        except TimeoutError:
            return httpx.ReadTimeout(f"no answer within {_CHECK_TIMEOUT_S:g} s")


def _with_own_timing(response: Response, started_s: float, origin: str | None) -> Response:
    """Add the gateway's wait for the endpoint, retries included, and let the page read it all.

    A response without the endpoint's timing stays as it is.

    Args:
        response: the endpoint's.
        started_s: when the request was passed on, by `time.monotonic`.
        origin: of the page, which is allowed; None if no page asks.
    """
    if (stages := response.headers.get(SERVER_TIMING)) is not None:
        waited_ms = 1e3 * (time.monotonic() - started_s)
        response.headers[SERVER_TIMING] = f"{stages}, endpoint;dur={waited_ms:.1f}"
        if origin is not None:
            response.headers["Timing-Allow-Origin"] = origin
    return response


class _AppFiles(StaticFiles):
    """The web app's files. A path that no file system can hold is answered with 404."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        try:
            return await super().get_response(path, scope)
        except ValueError as error:  # the path contains a NUL byte
            raise HTTPException(404) from error


async def _wait_for_disconnect(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _http_error(request: Request, error: Exception) -> Response:
    """JSON for an unknown path or a wrong method; the body of such a request is not kept."""
    assert isinstance(error, HTTPException)  # it is registered for this class only
    headers = {**(error.headers or {}), **await drop_body(request.receive)}
    return _error(error.status_code, error.detail, headers)


async def _unexpected_error(_: Request, __: Exception) -> Response:
    return _error(500, "the gateway failed on this request; its log has the reason")


def _error(status: int, message: str, headers: Mapping[str, str] | None = None) -> Response:
    return JSONResponse({"error": message}, status, headers)
