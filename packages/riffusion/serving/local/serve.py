"""`riffusion serve`: runs the Truss server and the gateway, and stops them together."""

import contextlib
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import uvicorn
from fastapi import FastAPI

from riffusion.errors import InputError, ServerError
from riffusion.generation.lora_folder import LORA_FOLDER
from riffusion.generation.seed_library import SeedLibrary
from riffusion.serving.addresses import (
    DEFAULT_HOST,
    DEFAULT_PORT,
    RUN_INFERENCE_PATH,
    bound_socket,
    local_url,
    networks_of,
)
from riffusion.serving.client import DEFAULT_RETRY_BUDGET_S, DEFAULT_TIMEOUT_S, Endpoint
from riffusion.serving.gateway.app import DEFAULT_PORT as DEFAULT_GATEWAY_PORT
from riffusion.serving.gateway.app import create_gateway
from riffusion.serving.gateway.client_limits import ClientLimits
from riffusion.serving.gateway.origins import AllowedOrigins
from riffusion.serving.local.half_close import HalfCloseH11Protocol
from riffusion.serving.local.truss_server import LocalTrussServer

logger = logging.getLogger(__name__)

_POLL_S = 0.2
_STOP_TIMEOUT_S = 120
_MAX_CONNECTIONS = 1024
"""Connections of all clients together; a request on one more is answered with 503."""
_KEEP_ALIVE_S = 5
"""Time for which a connection stays open between two requests."""
_MAX_HEAD_BYTES = 64 * 2**10
"""Size of the request line and the headers; a longer head is answered with 400."""


def serve(
    *,
    port: int = DEFAULT_PORT,
    gateway_port: int = DEFAULT_GATEWAY_PORT,
    host: str = DEFAULT_HOST,
    checkpoint: str | None = None,
    loras: Path | None = None,
    gateway: bool = True,
    endpoint: str | None = None,
    allowed_origins: tuple[str, ...] = (),
    app_dir: Path | None = None,
    limits: ClientLimits | None = None,
    trusted_proxies: tuple[str, ...] = (),
    timeout_s: float = DEFAULT_TIMEOUT_S,
    retry_budget_s: float = DEFAULT_RETRY_BUDGET_S,
    log_as_json: bool = False,
    announce: Callable[[str], None] = logger.info,
) -> None:
    """Run the local servers until SIGINT or SIGTERM; requests in progress are finished first.

    Args:
        port: port of the Truss server.
        gateway_port: port of the gateway.
        host: address that the gateway listens on. Without a gateway, the Truss server listens on
            it, and nothing limits its clients.
        checkpoint: folder, file or hub id; None for the default one.
        loras: folder with LoRAs that requests can name; None for that of `RIFFUSION_LORAS`.
        gateway: whether to run the gateway.
        endpoint: address of an endpoint for the gateway, in place of a local Truss server.
        allowed_origins: further origins of web pages that may use the gateway.
        app_dir: directory of a built web app that the gateway serves.
        limits: limits per client of the gateway; default `ClientLimits()`.
        trusted_proxies: as in `GatewayServer`.
        timeout_s, retry_budget_s: as in `Endpoint`, for the gateway's requests.
        log_as_json: whether the Truss server logs JSON objects instead of text; they are written to
            standard error as they are.
        announce: called with a line of text for each address, once it can be reached.

    Raises:
        ServerError: a server could not be started, or ended by itself.
        EndpointError: `endpoint` is not an address.
        InputError: an allowed origin, a trusted proxy, the web app's directory or the folder with
            LoRAs is not valid.
    """
    # These raise before anything is started.
    lora_environment = _lora_environment(loras)
    networks_of(trusted_proxies)
    AllowedOrigins(allowed_origins)
    if app_dir is not None and not (app_dir / "index.html").is_file():
        raise InputError(
            f"{str(app_dir)!r} has no index.html; build the web app with `make web`, and use "
            "web/dist",
            field="app_dir",
        )
    if endpoint is not None and loras is not None:
        raise InputError("is for a local server; drop it, or --endpoint", "loras")
    if endpoint is not None and not gateway:
        raise ServerError(f"endpoint={endpoint} needs the gateway; drop one of the two options")
    with _interrupted_by_sigterm(), contextlib.ExitStack() as servers:
        try:
            truss = web = None
            if endpoint is None:
                announce("starting the Truss server …")
                truss = servers.enter_context(
                    LocalTrussServer(
                        host=DEFAULT_HOST if gateway else host,
                        port=port,
                        environment=_environment(checkpoint)
                        | lora_environment
                        | ({"DISABLE_JSON_LOGGING": ""} if log_as_json else {}),
                        on_log_line=_write_to_stderr if log_as_json else None,
                    )
                )
                announce(f"inference: POST {truss.predict_url}")
            if gateway:
                target = Endpoint(
                    endpoint or (truss.predict_url if truss else ""),
                    timeout_s=timeout_s,
                    retry_budget_s=retry_budget_s,
                )
                library = SeedLibrary.default(_checkpoint_directory(checkpoint))
                app = create_gateway(
                    target, allowed_origins, app_dir, library, limits or ClientLimits()
                )
                web = servers.enter_context(GatewayServer(app, host, gateway_port, trusted_proxies))
                announce(f"web apps:  POST {web.base_url}{RUN_INFERENCE_PATH}/")
                announce(f"API page:  {web.base_url}/docs")
                if app_dir is not None:
                    announce(f"web app:   {web.base_url}/")
            while True:
                time.sleep(_POLL_S)
                if truss is not None:
                    truss.check()
                if web is not None:
                    web.check()
        except KeyboardInterrupt:
            announce("stopping …")


class GatewayServer:
    """A web server on a thread of its own; as a context manager it runs inside.

    Args:
        app: the application.
        host: address to listen on.
        port: TCP port; 0 for any free one.
        trusted_proxies: addresses or networks of proxies whose X-Forwarded-For header names the
            client; from other peers the header is ignored.

    Raises:
        ServerError: the port is in use, or the application does not start.
        InputError: a trusted proxy is not valid.
    """

    def __init__(
        self,
        app: FastAPI,
        host: str = DEFAULT_HOST,
        port: int = 0,
        trusted_proxies: Sequence[str] = (),
    ) -> None:
        proxies = networks_of(trusted_proxies)
        self._host = host
        self._socket = bound_socket(host, port, "gateway_port")
        self.port: int = self._socket.getsockname()[1]
        config = uvicorn.Config(
            app,
            http=HalfCloseH11Protocol,  # h11 has a limit on heads
            ws="none",
            log_config=None,
            log_level="warning",
            access_log=False,
            proxy_headers=bool(proxies),  # uvicorn trusts this machine by default
            forwarded_allow_ips=[str(network) for network in proxies],
            limit_concurrency=_MAX_CONNECTIONS,
            h11_max_incomplete_event_size=_MAX_HEAD_BYTES,
            timeout_keep_alive=_KEEP_ALIVE_S,
            timeout_graceful_shutdown=_STOP_TIMEOUT_S,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [self._socket]}, daemon=True
        )

    @property
    def base_url(self) -> str:
        """URL for clients on this machine."""
        return local_url(self._host, self.port)

    def __enter__(self) -> Self:
        self._thread.start()
        while not self._server.started:
            if not self._thread.is_alive():
                self._socket.close()
                raise ServerError("the gateway did not start; the log has the reason")
            time.sleep(0.01)
        return self

    def check(self) -> None:
        """Raise `ServerError` if the gateway has ended."""
        if not self._thread.is_alive():
            raise ServerError("the gateway has ended; the log has the reason")

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.should_exit = True
        self._thread.join()
        self._socket.close()


def _write_to_stderr(line: str) -> None:
    sys.stderr.write(line + "\n")


def _checkpoint_directory(checkpoint: str | None) -> Path | None:
    """The checkpoint if it is a directory on this machine, since it may hold seed images."""
    name = checkpoint or os.environ.get("RIFFUSION_CHECKPOINT")
    path = Path(name).expanduser() if name else None
    return path if path is not None and path.is_dir() else None


def _environment(checkpoint: str | None) -> dict[str, str]:
    """Environment of the Truss server: the checkpoint, as an absolute path if it is a path."""
    name = checkpoint or os.environ.get("RIFFUSION_CHECKPOINT")
    if not name:
        return {}
    path = Path(name).expanduser()
    if path.exists():
        return {"RIFFUSION_CHECKPOINT": str(path.resolve())}
    return {"RIFFUSION_CHECKPOINT": name, "HF_HUB_OFFLINE": os.environ.get("HF_HUB_OFFLINE", "0")}


def _lora_environment(folder: Path | None) -> dict[str, str]:
    """Environment of the Truss server: the folder with LoRAs, as an absolute path.

    Raises:
        InputError: it isn't a folder.
    """
    name = os.environ.get(LORA_FOLDER) if folder is None else str(folder)
    if not name:
        return {}
    path = Path(name).expanduser()
    if not path.is_dir():
        raise InputError(f"{name!r} is not a folder; name one with LoRAs", "loras")
    return {LORA_FOLDER: str(path.resolve())}


@contextlib.contextmanager
def _interrupted_by_sigterm() -> Iterator[None]:
    """Make SIGTERM raise KeyboardInterrupt, as SIGINT does; only on the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
