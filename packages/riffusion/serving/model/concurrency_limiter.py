"""Admission control: how much work may be under way, how much may wait, and when to come back."""

import math
from collections.abc import Callable

from riffusion.errors import OverloadedError


class ConcurrencyLimiter:
    """Counts places: `max_running` for jobs under way and `max_waiting` behind them.

    Belongs to one event loop, so it needs no lock.

    Args:
        seconds_until_free: asked for the time until a job under way is likely to end.
    """

    def __init__(
        self, max_running: int, max_waiting: int, seconds_until_free: Callable[[], float]
    ) -> None:
        self._max_running = max_running
        self._max_waiting = max_waiting
        self._seconds_until_free = seconds_until_free
        self._num_admitted = 0

    @property
    def num_waiting(self) -> int:
        """Jobs that have a place and share the model's time only later."""
        return max(0, self._num_admitted - self._max_running)

    @property
    def is_full(self) -> bool:
        """Whether the next job would be refused."""
        return self._num_admitted >= self._max_running + self._max_waiting

    def retry_after_s(self) -> int:
        """Whole seconds, at least one, until a place is likely to be free."""
        return max(1, math.ceil(self._seconds_until_free()))

    def check(self) -> None:
        """Check that the next job would get a place.

        Raises:
            OverloadedError: it wouldn't.
        """
        if self.is_full:
            raise OverloadedError(self.num_waiting, self.retry_after_s())

    def acquire(self) -> None:
        """Take a place; give it back by `release`.

        Raises:
            OverloadedError: there is none.
        """
        self.check()
        self._num_admitted += 1

    def release(self) -> None:
        """Give a place back."""
        self._num_admitted -= 1
