"""A limit on the bodies that the gateway holds at the same time, of all clients together.

The limits per client don't bound their sum, since an attacker may have many addresses. While the
endpoint is started again, bodies are held for longer, too.
"""

from starlette.types import ASGIApp, Receive, Scope, Send

MAX_BYTES = 512 * 2**20
"""Fourteen bodies of the largest size. The process needs up to twice that, for what is sent."""
RETRY_AFTER_S = 1
TAKE = "riffusion.take_body_memory"
"""Key of a request's scope: a function that takes a number of bytes for the request's body, and
returns whether there was room."""


class BodyMemory:
    """Counts the bytes of bodies that are held. Belongs to one event loop, so it needs no lock."""

    def __init__(self) -> None:
        self.num_bytes = 0

    def take(self, num_bytes: int) -> bool:
        """Count more bytes, if there is room for them; returns whether there was."""
        has_room = self.num_bytes + num_bytes <= MAX_BYTES
        self.num_bytes += num_bytes * has_room
        return has_room

    def free(self, num_bytes: int) -> None:
        """Count fewer bytes."""
        self.num_bytes -= num_bytes


class BodyMemoryMiddleware:
    """Lets a request take memory for its body, and frees it when the response has been sent.

    A stream's body is held until it ends, for the request belongs to the endpoint's response.

    Args:
        app: what answers the request; it finds `TAKE` in the scope.
        memory: of all requests.
    """

    def __init__(self, app: ASGIApp, memory: BodyMemory) -> None:
        self._app = app
        self._memory = memory

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        taken = 0

        def take(num_bytes: int) -> bool:
            nonlocal taken
            has_room = self._memory.take(num_bytes)
            taken += num_bytes * has_room
            return has_room

        try:
            await self._app({**scope, TAKE: take}, receive, send)
        finally:
            self._memory.free(taken)
