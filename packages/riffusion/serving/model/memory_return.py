"""When a service gives the memory that it has freed back to the system."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor

from riffusion.runtime.freed_memory import return_freed_memory

INTERVAL_S = 10.0
"""A return takes milliseconds, and the next clip some more, for its memory is mapped again."""


class MemoryReturn:
    """Returns freed memory every `INTERVAL_S` while requests come or are at work, and once after.

    So a service that has nothing to do keeps little of what it needed. Belongs to one event loop.

    Args:
        threads: where memory is returned.
        is_busy: whether a request is at work.
    """

    def __init__(self, threads: Executor, is_busy: Callable[[], bool]) -> None:
        self._threads = threads
        self._is_busy = is_busy
        self._timer: asyncio.TimerHandle | None = None

    def request_came(self) -> None:
        """Return memory in `INTERVAL_S` at the latest; called for refused requests, too."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(INTERVAL_S, self._return)

    def _return(self) -> None:
        self._timer = None
        self._threads.submit(return_freed_memory)
        if self._is_busy():
            self.request_came()
