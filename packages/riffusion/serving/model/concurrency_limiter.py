"""A concurrency limiter: how many jobs may run and wait, and when a client may try again."""

import math
from collections.abc import Callable

from riffusion.errors import OverloadedError


class ConcurrencyLimiter:
    """Counts slots: `max_running` for jobs that run, and `max_waiting` for jobs that wait.

    Belongs to one event loop, so it needs no lock.

    Args:
        max_running: jobs that run at the same time.
        max_waiting: further jobs that may wait.
        seconds_until_free: estimates the time until a running job ends.

    Attributes:
        num_acquired: slots in use.
    """

    def __init__(
        self, max_running: int, max_waiting: int, seconds_until_free: Callable[[], float]
    ) -> None:
        self._max_running = max_running
        self._max_waiting = max_waiting
        self._seconds_until_free = seconds_until_free
        self.num_acquired = 0

    @property
    def num_waiting(self) -> int:
        """Jobs that hold a slot but don't run yet."""
        return max(0, self.num_acquired - self._max_running)

    @property
    def is_full(self) -> bool:
        """Whether every slot is in use."""
        return self.num_acquired >= self._max_running + self._max_waiting

    def retry_after_s(self) -> int:
        """Estimated time until a slot is free, in whole seconds; at least 1."""
        return max(1, math.ceil(self._seconds_until_free()))

    def check(self) -> None:
        """Check that a slot is free.

        Raises:
            OverloadedError: every slot is in use.
        """
        if self.is_full:
            raise OverloadedError(self.num_waiting, self.retry_after_s())

    def acquire(self) -> None:
        """Take a slot; `release` returns it.

        Raises:
            OverloadedError: every slot is in use.
        """
        self.check()
        self.num_acquired += 1

    def release(self) -> None:
        """Return a slot."""
        self.num_acquired -= 1
