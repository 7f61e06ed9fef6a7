"""One request at a replica; sent again if the replica dies before the client has a byte of it.

Serve repeats what a replica has not begun. A request that was begun is lost with its replica, so it
is repeated here. The same request gives the same bytes on every replica, so nobody can tell.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from typing import Protocol

from riffusion.errors import GenerationError
from riffusion.serving.model.responses import NDJSON

logger = logging.getLogger(__name__)

MAX_ATTEMPTS = 5
"""A request that kills its replica, such as one that memory runs out for, kills no more of them."""
_PAUSE_S = 0.2

Head = tuple[int, dict[str, str]]
"""Status and headers of a response, with names in lower case."""


class ReplicaLostError(GenerationError):
    """The replica that made a clip died, and the request can't be repeated, or was too often."""


class Call(Protocol):
    """A running call of a replica: it yields a `Head` and then chunks of the body."""

    def __aiter__(self) -> AsyncIterator[Head | bytes]:
        """Itself."""

    async def __anext__(self) -> Head | bytes:
        """The next part."""

    def cancel(self) -> None:
        """Stop the replica's work."""


class ClipCall:
    """One request at a replica, repeated as often as needed while nothing was passed on.

    Args:
        start: sends the request to a replica.
        is_lost: whether an exception of the call says that its replica has died.
    """

    def __init__(self, start: Callable[[], Call], is_lost: Callable[[BaseException], bool]) -> None:
        self._start = start
        self._is_lost = is_lost
        self._call: Call | None = None

    async def begin(self) -> tuple[Head, bytes]:
        """Head and first line of a stream; head and whole body of any other response.

        Raises:
            ReplicaLostError: `MAX_ATTEMPTS` replicas have died over it.
            Exception: whatever else the call raises.
        """
        for attempt in range(1, MAX_ATTEMPTS + 1):
            try:
                return await self._attempt()
            except Exception as error:
                self._call = None  # it has ended, so there is nothing to cancel
                if not self._is_lost(error):
                    raise
                logger.warning("a replica died (attempt %d of %d)", attempt, MAX_ATTEMPTS)
            await asyncio.sleep(_PAUSE_S * attempt)
        raise ReplicaLostError(f"{MAX_ATTEMPTS} replicas died while they made the clip")

    async def rest(self) -> AsyncIterator[bytes]:
        """What follows the first line of a stream.

        Raises:
            ReplicaLostError: the replica died.
            Exception: whatever else the call raises.
        """
        assert self._call is not None  # `begin` comes first
        try:
            async for chunk in self._call:
                assert isinstance(chunk, bytes)
                yield chunk
        except Exception as error:
            self._call = None
            if not self._is_lost(error):
                raise
            raise ReplicaLostError(
                "the replica that made the clip died in the middle of the stream; try again"
            ) from error
        self._call = None

    def cancel(self) -> None:
        """Stop the work, if any is left."""
        call, self._call = self._call, None
        if call is not None:
            call.cancel()

    async def _attempt(self) -> tuple[Head, bytes]:
        self._call = self._start()
        head = await anext(aiter(self._call))
        assert not isinstance(head, bytes)
        first = await anext(aiter(self._call), b"")
        assert isinstance(first, bytes)
        if head[1].get("content-type", "").startswith(NDJSON):
            return head, first
        body = bytearray(first)
        async for chunk in self._call:
            assert isinstance(chunk, bytes)
            body += chunk
        self._call = None
        return head, bytes(body)
