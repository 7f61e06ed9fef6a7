"""One answer for all who ask within a moment: a flood of questions costs as much as one."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

_Answer = TypeVar("_Answer")


class SingleFlightCache(Generic[_Answer]):
    """What `ask` answers, asked at most once in `max_age_s`. Belongs to one event loop.

    Args:
        ask: finds the answer.
        max_age_s: for how long it is given to others.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        ask: Callable[[], Awaitable[_Answer]],
        max_age_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ask = ask
        self._max_age_s = max_age_s
        self._clock = clock
        self._asking = asyncio.Lock()
        self._newest: tuple[_Answer, float] | None = None

    async def get(self) -> _Answer:
        """The answer; those who come while it is looked for wait for the same one."""
        async with self._asking:
            if self._newest is None or self._clock() - self._newest[1] >= self._max_age_s:
                answer = await self._ask()
                self._newest = answer, self._clock()
            return self._newest[0]
