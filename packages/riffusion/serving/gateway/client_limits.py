"""Limits per client of the gateway: requests per minute, and requests at the same time.

    request ─▶ slots of the client ─▶ its requests in the last minute ─▶ the app
                TooManyRequestsError    TooManyRequestsError

A client is an IPv4 address, or an IPv6 network of /64, which is what one customer gets. The server
sets the address: the peer's, or the one that a trusted proxy reports.
"""

import ipaddress
import math
import time
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from riffusion.errors import TooManyRequestsError
from riffusion.serving.gateway.incoming_body import drop_body

DEFAULT_MAX_PER_MINUTE = 120
"""Ten times what a jam of 5.12 s clips needs."""
DEFAULT_MAX_AT_ONCE = 6
"""A web app that prefetches has up to four, and more while its user changes the prompts."""
_MAX_CLIENTS = 10_000
"""Clients to remember. After this number of different clients all counts start again."""
_WINDOW_S = 60.0
_IPV6_CUSTOMER_BITS = 64
_RETRY_AT_ONCE_S = 1


class ClientLimits:
    """Counts requests per client. Belongs to one event loop, so it needs no lock.

    Args:
        max_per_minute: requests in any 60 s; 0 for no limit.
        max_at_once: requests in progress; 0 for no limit.
    """

    def __init__(
        self,
        max_per_minute: int = DEFAULT_MAX_PER_MINUTE,
        max_at_once: int = DEFAULT_MAX_AT_ONCE,
    ) -> None:
        self.max_per_minute = max_per_minute
        self.max_at_once = max_at_once
        self._at_once: Counter[str] = Counter()
        self._times_s: dict[str, deque[float]] = {}

    def times(self, factor: int) -> "ClientLimits":
        """Limits that are `factor` times as high, with counts of their own."""
        return ClientLimits(factor * self.max_per_minute, factor * self.max_at_once)

    @contextmanager
    def slot(self, client: str) -> Iterator[None]:
        """Hold a slot for one request of `client`.

        Raises:
            TooManyRequestsError: the client is at a limit. The refused request is not counted.
        """
        if self.max_at_once and self._at_once[client] >= self.max_at_once:
            raise TooManyRequestsError(f"{self.max_at_once} requests at once", _RETRY_AT_ONCE_S)
        self._count(client)
        self._at_once[client] += 1
        try:
            yield
        finally:
            self._at_once[client] -= 1
            if not self._at_once[client]:
                del self._at_once[client]

    def _count(self, client: str) -> None:
        if not self.max_per_minute:
            return
        if client not in self._times_s and len(self._times_s) >= _MAX_CLIENTS:
            self._times_s.clear()
        times_s = self._times_s.setdefault(client, deque())
        now_s = time.monotonic()  # the time of day may be set back, by an hour or a day
        while times_s and now_s - times_s[0] >= _WINDOW_S:
            times_s.popleft()
        if len(times_s) >= self.max_per_minute:
            retry_after_s = max(1, math.ceil(times_s[0] + _WINDOW_S - now_s))
            raise TooManyRequestsError(f"{self.max_per_minute} requests per minute", retry_after_s)
        times_s.append(now_s)


class ClientLimitsMiddleware:
    """Passes on the requests that the limits allow; the others get 429 with Retry-After.

    A request is in progress until the last byte of its response, also if that is a stream.
    """

    def __init__(self, app: ASGIApp, limits: ClientLimits) -> None:
        self._app = app
        self._limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one ASGI connection; lifespan events are not limited."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        try:
            with self._limits.slot(client_from(scope)):
                await self._app(scope, receive, send)
        except TooManyRequestsError as error:
            headers = {"Retry-After": str(error.retry_after_s), **await drop_body(receive)}
            await JSONResponse({"error": str(error)}, 429, headers)(scope, receive, send)


def client_from(scope: Scope) -> str:
    """The client of a connection. Clients whose address a proxy doesn't report share one name."""
    host, _ = scope.get("client") or ("", 0)
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return ""
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ipaddress.ip_network((address.packed, _IPV6_CUSTOMER_BITS), strict=False))
    return str(address)
