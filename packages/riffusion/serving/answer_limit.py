"""A limit on the time of a whole answer, for clients that block.

httpx limits each read, so an endpoint that sends a byte now and then is waited for without end.
"""

import contextlib
import socket
import threading
from collections.abc import Mapping
from typing import Any, Self

import httpx


class AnswerLimit:
    """Shuts a connection down when the answer takes too long; whoever reads from it then fails.

    The time of each attempt starts when its request is sent, and stops when its response is closed,
    so that the delays between attempts don't count.

    Args:
        timeout_s: longest time for the answer, in seconds.

    Attributes:
        has_expired: whether the connection of the newest attempt was shut down.
    """

    def __init__(self, timeout_s: float) -> None:
        self.has_expired = False
        self._timeout_s = timeout_s
        self._socket: socket.socket | None = None
        self._timer: threading.Timer | None = None

    def trace(self, event: str, info: Mapping[str, Any]) -> None:
        """Follow a request: the value of its extension `trace`, which httpcore documents."""
        if event == "connection.connect_tcp.complete":
            self._forget_socket()
            # A duplicate, since TLS takes over the original.
            self._socket = info["return_value"].get_extra_info("socket").dup()
        elif event.endswith(".send_request_headers.started"):
            self.has_expired = False
            self.restart()
        elif event.endswith(".response_closed.complete"):
            self.stop()

    def restart(self) -> None:
        """Start the time again."""
        self.stop()
        self._timer = threading.Timer(self._timeout_s, self._expire)
        self._timer.daemon = True
        self._timer.start()

    def stop(self) -> None:
        """Stop the time."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def check(self) -> None:
        """Check that the answer was not cut off.

        Raises:
            httpx.ReadTimeout: it was.
        """
        if self.has_expired:
            raise httpx.ReadTimeout("")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._forget_socket()

    def _expire(self) -> None:
        self.has_expired = True
        connection = self._socket
        if connection is not None:
            with contextlib.suppress(OSError):  # it is closed already
                connection.shutdown(socket.SHUT_RDWR)

    def _forget_socket(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None
