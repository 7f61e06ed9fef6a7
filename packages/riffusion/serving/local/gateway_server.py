"""The gateway's web server, on a thread of its own."""

import threading
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Self

import uvicorn
from fastapi import FastAPI

from riffusion.errors import ServerError
from riffusion.serving.addresses import DEFAULT_HOST, bound_socket, local_url, networks_of
from riffusion.serving.local.half_close import HalfCloseH11Protocol

_STOP_TIMEOUT_S = 120
_MAX_CONNECTIONS = 1024
"""Connections of all clients together; a request on one more is answered with 503."""
_KEEP_ALIVE_S = 5
"""Time for which a connection stays open between two requests."""
_MAX_HEAD_BYTES = 64 * 2**10
"""Size of the request line and the headers; a longer head is answered with 400."""


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
