"""A single-flight cache: any number of callers at the same time cost one look-up."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

_Value = TypeVar("_Value")


class SingleFlightCache(Generic[_Value]):
    """Caches what `fetch` returns and calls it at most once per `max_age_s`.

    Belongs to one event loop.

    Args:
        fetch: looks the value up.
        max_age_s: how long a value is reused, in seconds.
        clock: monotonic time in seconds.
    """

    def __init__(
        self,
        fetch: Callable[[], Awaitable[_Value]],
        max_age_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._fetch = fetch
        self._max_age_s = max_age_s
        self._clock = clock
        self._lock = asyncio.Lock()
        self._newest: tuple[_Value, float] | None = None

    async def get(self) -> _Value:
        """The value; callers that arrive during a look-up wait for its result."""
        async with self._lock:
            if self._newest is None or self._clock() - self._newest[1] >= self._max_age_s:
                value = await self._fetch()
                self._newest = value, self._clock()
            return self._newest[0]
