"""The web-facing server: what the public Riffusion web app calls, in front of an endpoint.

    POST /run_inference/          the web app's address  ┐  the endpoint's status and body,
    POST /v1/models/model:predict  the endpoint's own     ┘  streams included; see forwarding.py
    GET  /health                  whether the endpoint is ready
    GET  /seed_images, /masks     what requests may be painted over, see seed_images.py
    GET  /metrics/                the local Truss server's Prometheus metrics
    GET  /…                       the app's files, where a directory of them is given

It adds what a browser needs and a model server lacks: CORS, limits for each client (see
client_limits.py), a body limit before anything is stored, retries, and a JSON error when the
endpoint is away, hangs, or talks nonsense.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
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
from riffusion.serving.addresses import PREDICT_PATH
from riffusion.serving.client import JSON, MSGPACK, Endpoint
from riffusion.serving.gateway.client_limits import ClientLimits, ClientLimitsMiddleware
from riffusion.serving.gateway.incoming_body import drop_body, read_body
from riffusion.serving.gateway.origins import AllowedOrigins
from riffusion.serving.gateway.reverse_proxy import ReverseProxy
from riffusion.serving.gateway.seed_images import add_seed_images
from riffusion.serving.gateway.single_flight import SingleFlightCache

DEFAULT_PORT = 3013
RUN_INFERENCE_PATH = "/run_inference"
_CHEAP_REQUESTS = 10
"""For each request for a clip that a client may have, so many of any kind: pages come in parts."""
_QUESTION_TIMEOUT_S = 3.0
_QUESTION_MAX_AGE_S = 1.0
"""The endpoint is asked for its health and its metrics no more often, whoever wants to know."""
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
            machine's and the gateway's own by an address or a name without dots; `*` allows every
            page.
        app_dir: directory of a built web app to serve at `/`.
        library: seed images and masks to show; they should be the endpoint's.
        limits: what one client may ask of the endpoint, and ten times as much of the gateway
            altogether; None for no limits.

    Raises:
        InputError: an allowed origin is none.
    """
    origins = AllowedOrigins(allowed_origins)
    gateway = _Gateway(endpoint, origins)
    app = FastAPI(
        title="Riffusion gateway",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,  # a redirected POST loses its body
        lifespan=gateway.lifespan,
        exception_handlers={HTTPException: _http_error, Exception: _unexpected_error},
    )
    if limits is not None:
        app.add_middleware(ClientLimitsMiddleware, limits=limits.times(_CHEAP_REQUESTS))
    app.add_middleware(  # around the limits, so that pages can read their refusals
        CORSMiddleware,
        **origins.cors_options,
        allow_methods=["GET", "POST"],
        allow_headers=["Content-Type"],
        expose_headers=["Retry-After"],
    )
    limiting = [] if limits is None else [Middleware(ClientLimitsMiddleware, limits=limits)]
    for path in (RUN_INFERENCE_PATH, RUN_INFERENCE_PATH + "/", PREDICT_PATH):
        app.routes.append(Route(path, gateway.predict, methods=["POST"], middleware=limiting))
    app.add_route("/health", gateway.health, methods=["GET"])
    if library is not None:
        add_seed_images(app, library)
    for path in ("/metrics", "/metrics/"):
        app.add_route(path, gateway.metrics, methods=["GET"])
    if app_dir is not None:
        app.mount("/", _AppFiles(directory=app_dir, html=True))
    return app


class _Gateway:
    def __init__(self, endpoint: Endpoint, origins: AllowedOrigins) -> None:
        self._endpoint = endpoint
        self._origins = origins

    @asynccontextmanager
    async def lifespan(self, _: FastAPI) -> AsyncIterator[None]:
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=16)
        async with httpx.AsyncClient(
            limits=limits, trust_env=not self._endpoint.is_local
        ) as client:
            self._client = client
            self._forwarder = ReverseProxy(self._endpoint, client)
            self._readiness = SingleFlightCache(self._ask_if_ready, _QUESTION_MAX_AGE_S)
            self._numbers = SingleFlightCache(self._ask_for_metrics, _QUESTION_MAX_AGE_S)
            yield

    async def predict(self, request: Request) -> Response:
        """Pass a request on. Where the client leaves, the endpoint's work ends too."""
        origin = request.headers.get("origin")
        host = request.headers.get("host", "")
        if not self._origins.allows(origin, request.url.scheme, host):
            await drop_body(request.receive)
            remedy = f"start the gateway with --allowed-origin {origin}"
            return _error(403, f"origin={origin} is not allowed; {remedy}")
        try:
            body = await read_body(request.receive)
        except InputError as error:
            return _error(400, str(error))
        except TimeoutError as error:
            return _error(408, str(error))
        except ClientDisconnect:
            return Response(status_code=_CLIENT_CLOSED_REQUEST)
        media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        content_type = MSGPACK if media_type == MSGPACK else JSON  # as the Truss server decides
        answering = asyncio.create_task(self._forwarder.answer(body, content_type))
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
        content = {"status": "ok", "endpoint": self._endpoint.shown_url}
        reason = await self._readiness.get()
        if reason is None:
            return JSONResponse(content)
        return JSONResponse({**content, "status": "unavailable", "error": reason}, 503)

    async def metrics(self, _: Request) -> Response:
        """The endpoint's metrics as they are."""
        if self._endpoint.metrics_url is None:
            return _error(404, "a hosted endpoint's metrics are on its host's pages")
        answer = await self._numbers.get()
        if isinstance(answer, httpx.RequestError):
            gone = self._endpoint.unreachable(answer)
            return _error(gone.status or 502, str(gone))
        media_type = answer.headers.get("content-type")
        return Response(answer.content, answer.status_code, media_type=media_type)

    async def _ask_if_ready(self) -> str | None:
        """Why the endpoint is not ready, or None if it is, or doesn't say."""
        if self._endpoint.ready_url is None:
            return None
        answer = await self._ask(self._endpoint.ready_url)
        if isinstance(answer, httpx.RequestError):
            return str(answer) or type(answer).__name__
        return None if answer.is_success else f"status {answer.status_code}"

    async def _ask_for_metrics(self) -> httpx.Response | httpx.RequestError:
        assert self._endpoint.metrics_url is not None  # or nobody would ask
        return await self._ask(self._endpoint.metrics_url)

    async def _ask(self, url: httpx.URL) -> httpx.Response | httpx.RequestError:
        try:
            async with asyncio.timeout(_QUESTION_TIMEOUT_S):  # for all of it, also if it trickles
                return await self._client.get(url, follow_redirects=True)
        except httpx.RequestError as error:
            return error
        except TimeoutError:
            return httpx.ReadTimeout(f"no answer within {_QUESTION_TIMEOUT_S:g} s")


class _AppFiles(StaticFiles):
    """The app's files. A path that no file system has is one that isn't there."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        try:
            return await super().get_response(path, scope)
        except ValueError as error:  # a NUL byte in it
            raise HTTPException(404) from error


async def _wait_for_disconnect(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _http_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # it is the handler of no others
    return JSONResponse({"error": error.detail}, error.status_code, error.headers)


async def _unexpected_error(_: Request, __: Exception) -> Response:
    return _error(500, "the gateway failed on this request; its log has the reason")


def _error(status: int, message: str) -> Response:
    return JSONResponse({"error": message}, status)
