"""Admission control: how much work may run, how much may wait, and when to come back."""

import asyncio
import math
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from riffusion.errors import OverloadedError

_DURATION_WEIGHT = 0.2
"""Weight of the newest duration in the moving average: about the last ten clips count."""


class AdmissionGate:
    """Lets `max_running` jobs run and `max_waiting` wait, first come first served.

    Belongs to one event loop, so it needs no lock.

    Args:
        usual_s: duration of a job, until some have been seen.
    """

    def __init__(self, max_running: int, max_waiting: int, usual_s: float) -> None:
        self._max_running = max_running
        self._max_waiting = max_waiting
        self._slots = asyncio.Semaphore(max_running)
        self._mean_s = usual_s
        self._num_admitted = 0
        self._started_at: list[float] = []

    @property
    def num_waiting(self) -> int:
        """Jobs that have a place and don't run yet."""
        return max(0, self._num_admitted - self._max_running)

    @property
    def is_full(self) -> bool:
        """Whether the next job would be refused."""
        return self._num_admitted >= self._max_running + self._max_waiting

    def retry_after_s(self) -> int:
        """Whole seconds, at least one, until the first running job is likely to end."""
        now = time.monotonic()
        longest_s = max((now - started for started in self._started_at), default=0.0)
        return max(1, math.ceil(self._mean_s - longest_s))

    def check(self) -> None:
        """Raise `OverloadedError` if the next job would be refused."""
        if self.is_full:
            raise OverloadedError(self.num_waiting, self.retry_after_s())

    def take_place(self) -> None:
        """Take a place to run or wait in; give it back by `leave_place`.

        Raises:
            OverloadedError: there is none.
        """
        self.check()
        self._num_admitted += 1

    def leave_place(self) -> None:
        """Give a place back."""
        self._num_admitted -= 1

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Wait for a turn to run, inside a place; the duration of a run without error counts."""
        async with self._slots:
            started = time.monotonic()
            self._started_at.append(started)
            try:
                yield
                newest_s = time.monotonic() - started
                self._mean_s += _DURATION_WEIGHT * (newest_s - self._mean_s)
            finally:
                self._started_at.remove(started)
