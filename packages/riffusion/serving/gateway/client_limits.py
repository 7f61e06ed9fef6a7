"""What one client may ask of the gateway: so many requests a minute, and so many at once.

    request ─▶ the client's requests of the last minute ─▶ a place among those at once ─▶ the app
                TooManyRequestsError                         TooManyRequestsError

A client is an address, and with IPv6 a network of /64, which is what one customer gets. The server
sets the address: the peer's, or what a trusted proxy says.
"""

import ipaddress
import math
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from cachetools import TTLCache
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from riffusion.errors import TooManyRequestsError
from riffusion.serving.gateway.incoming_body import drop_body

DEFAULT_MAX_PER_MINUTE = 120
"""Ten times what a jam of 5.12 s clips needs."""
DEFAULT_MAX_AT_ONCE = 6
"""A web app that looks ahead has up to four, and more while it changes its mind."""
_MINUTE_S = 60.0
_MAX_CLIENTS = 10_000
"""Whose minute is remembered; of more, those that were quiet for longest are forgotten."""
_IPV6_CUSTOMER_BITS = 64
_RETRY_AT_ONCE_S = 1


class ClientLimits:
    """Counts requests by client. Belongs to one event loop, so it needs no lock.

    Args:
        max_per_minute: in any 60 s; 0 for no limit.
        max_at_once: under way; 0 for no limit.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        max_per_minute: int = DEFAULT_MAX_PER_MINUTE,
        max_at_once: int = DEFAULT_MAX_AT_ONCE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.max_per_minute = max_per_minute
        self.max_at_once = max_at_once
        self._clock = clock
        self._times: TTLCache[str, deque[float]] = TTLCache(_MAX_CLIENTS, _MINUTE_S, clock)
        self._at_once: Counter[str] = Counter()

    def times(self, factor: int) -> "ClientLimits":
        """Limits that are `factor` times as wide, with a count of their own."""
        return ClientLimits(factor * self.max_per_minute, factor * self.max_at_once, self._clock)

    @contextmanager
    def place(self, client: str) -> Iterator[None]:
        """A request of `client` is under way inside.

        Raises:
            TooManyRequestsError: it has had its share. The request doesn't count.
        """
        if self.max_at_once and self._at_once[client] >= self.max_at_once:
            raise TooManyRequestsError(f"{self.max_at_once} requests at once", _RETRY_AT_ONCE_S)
        self._note_time(client)
        self._at_once[client] += 1
        try:
            yield
        finally:
            self._at_once[client] -= 1
            if not self._at_once[client]:
                del self._at_once[client]

    def _note_time(self, client: str) -> None:
        if not self.max_per_minute:
            return
        now = self._clock()
        times = self._times.get(client, deque())
        while times and times[0] <= now - _MINUTE_S:
            times.popleft()
        if len(times) >= self.max_per_minute:
            retry_after_s = max(1, math.ceil(times[0] + _MINUTE_S - now))
            raise TooManyRequestsError(f"{self.max_per_minute} requests a minute", retry_after_s)
        times.append(now)
        self._times[client] = times  # remembered for a minute from now


class ClientLimitsMiddleware:
    """Lets in what the limits allow, and answers the rest with 429 and Retry-After.

    A request is under way until the last byte of its answer, a stream's too.
    """

    def __init__(self, app: ASGIApp, limits: ClientLimits) -> None:
        self._app = app
        self._limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request, as ASGI has it; an application's start and end are none."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        try:
            with self._limits.place(client_from(scope)):
                await self._app(scope, receive, send)
        except TooManyRequestsError as error:
            await drop_body(receive)
            headers = {"Retry-After": str(error.retry_after_s)}
            await JSONResponse({"error": str(error)}, 429, headers)(scope, receive, send)


def client_from(scope: Scope) -> str:
    """Who asks. All whose address a proxy doesn't tell are one client."""
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
