"""What one client may do with connections: so many at once, and none that is held for nothing.

uvicorn waits for ever for the rest of a request's head, and goes on reading a body that was
answered already. Clients that do so hold a connection at no cost of theirs, and a server has only
so many.
"""

import asyncio
import ipaddress
from collections import Counter
from collections.abc import Sequence

from uvicorn.protocols.http.h11_impl import H11Protocol

from riffusion.serving.addresses import Network
from riffusion.serving.gateway.client_limits import client_from

MAX_CONNECTIONS = 256
"""Of one client. A browser opens six for each page."""
HEAD_TIMEOUT_S = 10.0
"""From the first sign of a request, or of a connection, to the end of the request's head."""


def guarded_protocol(proxies: Sequence[Network]) -> type[H11Protocol]:
    """The protocol of one server's connections, for uvicorn.

    Args:
        proxies: may have any number of connections, since all clients come through them.
    """
    num_open: Counter[str] = Counter()

    class GuardedProtocol(H11Protocol):
        _head_timer: asyncio.TimerHandle | None = None
        _counted_as: str | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            address = self.client[0] if self.client else ""
            if not _is_in(proxies, address):
                self._counted_as = client_from({"client": (address, 0)})
                num_open[self._counted_as] += 1
                if num_open[self._counted_as] > MAX_CONNECTIONS:
                    transport.abort()
                    return
            self._time_head()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self._time_head()

        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            self._stop_timer()
            if self._counted_as is not None:
                num_open[self._counted_as] -= 1
                if not num_open[self._counted_as]:
                    del num_open[self._counted_as]

        def _time_head(self) -> None:
            if self._is_request_under_way():
                self._stop_timer()
            elif self._head_timer is None:
                self._head_timer = self.loop.call_later(HEAD_TIMEOUT_S, self._end)

        def _is_request_under_way(self) -> bool:
            return self.cycle is not None and not self.cycle.response_complete

        def _end(self) -> None:
            self._head_timer = None
            if not self._is_request_under_way():
                self.transport.abort()

        def _stop_timer(self) -> None:
            if self._head_timer is not None:
                self._head_timer.cancel()
                self._head_timer = None

    return GuardedProtocol


def _is_in(networks: Sequence[Network], address: str) -> bool:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    return any(parsed in network for network in networks)
