"""`riffusion serve`: the Truss server and the gateway together, ended together."""

import contextlib
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import uvicorn
from fastapi import FastAPI

from riffusion.errors import ServerError
from riffusion.generation.seed_library import SeedLibrary
from riffusion.serving.addresses import (
    DEFAULT_HOST,
    DEFAULT_PORT,
    bound_socket,
    local_url,
    networks_of,
)
from riffusion.serving.client import DEFAULT_RETRY_BUDGET_S, DEFAULT_TIMEOUT_S, Endpoint
from riffusion.serving.gateway.app import DEFAULT_PORT as DEFAULT_GATEWAY_PORT
from riffusion.serving.gateway.app import RUN_INFERENCE_PATH, create_gateway
from riffusion.serving.gateway.client_limits import ClientLimits
from riffusion.serving.gateway.connections import guarded_protocol
from riffusion.serving.local.truss_server import LocalTrussServer

logger = logging.getLogger(__name__)

_POLL_S = 0.2
_STOP_TIMEOUT_S = 120


def serve(
    *,
    port: int = DEFAULT_PORT,
    gateway_port: int = DEFAULT_GATEWAY_PORT,
    host: str = DEFAULT_HOST,
    checkpoint: str | None = None,
    gateway: bool = True,
    endpoint: str | None = None,
    allowed_origins: tuple[str, ...] = (),
    app_dir: Path | None = None,
    limits: ClientLimits | None = None,
    trusted_proxies: tuple[str, ...] = (),
    timeout_s: float = DEFAULT_TIMEOUT_S,
    retry_budget_s: float = DEFAULT_RETRY_BUDGET_S,
    announce: Callable[[str], None] = logger.info,
) -> None:
    """Run the local servers until SIGINT or SIGTERM; requests in flight are finished first.

    Args:
        port: of the Truss server.
        gateway_port: of the gateway.
        host: address that the gateway listens on; or the Truss server, if there is no gateway to
            limit what clients may ask of it.
        checkpoint: folder, file or hub id; None for the default one.
        gateway: whether to run the gateway.
        endpoint: address of an endpoint for the gateway, in place of a local Truss server.
        allowed_origins: further origins of web pages that may use the gateway.
        app_dir: directory of a built web app that the gateway serves.
        limits: what one client may ask of the gateway; default `ClientLimits()`.
        trusted_proxies: as in `GatewayServer`.
        timeout_s, retry_budget_s: of the gateway's requests, as in `Endpoint`.
        announce: told in a line what can be reached where, once it can.

    Raises:
        ServerError: a server could not be started, or died.
        EndpointError: `endpoint` is not an address.
        InputError: an allowed origin or a trusted proxy is none.
    """
    networks_of(trusted_proxies)  # before anything is started
    if endpoint is not None and not gateway:
        raise ServerError(f"endpoint={endpoint} needs the gateway; leave one of the two away")
    with _interrupted_by_sigterm(), contextlib.ExitStack() as servers:
        try:
            truss = None
            if endpoint is None:
                announce("starting the Truss server …")
                truss = servers.enter_context(
                    LocalTrussServer(
                        host=DEFAULT_HOST if gateway else host,
                        port=port,
                        environment=_environment(checkpoint),
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
                if app_dir is not None:
                    announce(f"web app:   {web.base_url}/")
            while True:
                time.sleep(_POLL_S)
                if truss is not None:
                    truss.check()
        except KeyboardInterrupt:
            announce("stopping …")


class GatewayServer:
    """A web application on a thread of its own; a context manager.

    Args:
        app: the application.
        host: address to listen on.
        port: TCP port; 0 for any free one.
        trusted_proxies: addresses or networks of proxies whose X-Forwarded-For says who the client
            is; of others the header is ignored.

    Raises:
        ServerError: the port is taken, or the application does not start.
        InputError: a trusted proxy is none.
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
            http=guarded_protocol(proxies),
            ws="none",
            log_config=None,
            log_level="warning",
            access_log=False,
            proxy_headers=bool(proxies),  # by default uvicorn trusts this machine
            forwarded_allow_ips=[str(network) for network in proxies],
            timeout_graceful_shutdown=_STOP_TIMEOUT_S,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [self._socket]}, daemon=True
        )

    @property
    def base_url(self) -> str:
        """Address for clients on this machine."""
        return local_url(self._host, self.port)

    def __enter__(self) -> Self:
        self._thread.start()
        while not self._server.started:
            if not self._thread.is_alive():
                self._socket.close()
                raise ServerError("the gateway did not start; the log has the reason")
            time.sleep(0.01)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.should_exit = True
        self._thread.join()
        self._socket.close()


def _checkpoint_directory(checkpoint: str | None) -> Path | None:
    """The checkpoint's directory, if it is one on this machine: it may have seed images."""
    name = checkpoint or os.environ.get("RIFFUSION_CHECKPOINT")
    path = Path(name).expanduser() if name else None
    return path if path is not None and path.is_dir() else None


def _environment(checkpoint: str | None) -> dict[str, str]:
    """Variables of the Truss server: the checkpoint, by an absolute path if it is one."""
    name = checkpoint or os.environ.get("RIFFUSION_CHECKPOINT")
    if not name:
        return {}
    path = Path(name).expanduser()
    if path.exists():
        return {"RIFFUSION_CHECKPOINT": str(path.resolve())}
    return {"RIFFUSION_CHECKPOINT": name, "HF_HUB_OFFLINE": os.environ.get("HF_HUB_OFFLINE", "0")}


@contextlib.contextmanager
def _interrupted_by_sigterm() -> Iterator[None]:
    """Inside, SIGTERM raises KeyboardInterrupt, as SIGINT does. On the main thread only."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
