"""Calls of the model for several jobs, which survive that a call fails.

A call that fails is repeated on halves of the jobs, down to the single job that it fails for. If it
ran out of memory, later calls are smaller, until many of them have succeeded.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from riffusion.diffusion.job import HasShape
from riffusion.runtime.memory import is_out_of_memory, release_memory_of

logger = logging.getLogger(__name__)

SUCCESSES_BEFORE_MORE = 64
"""Calls at the limit, after which twice as many jobs are tried: memory may be free again."""


_Result = TypeVar("_Result")
_Entry = TypeVar("_Entry")
_Job = TypeVar("_Job", bound=HasShape)


@dataclass
class _Limit:
    """How many jobs of one shape fit into memory, as far as is known."""

    max_jobs: int
    num_successes: int = 0


class BatchCalls(Generic[_Entry, _Job]):
    """Calls for batches of jobs, of one kind: the UNet's or the decoder's.

    Each kind has limits of its own, as a call of one kind that runs out of memory says nothing
    about the other.

    Args:
        job_of: the job of an entry of a batch.
        on_failure: called with an entry and the exception that it fails with, alone.
        max_jobs: most jobs per call, whatever their shape; None for no limit.
    """

    def __init__(
        self,
        job_of: Callable[[_Entry], _Job],
        on_failure: Callable[[_Entry, Exception], None],
        max_jobs: int | None = None,
    ) -> None:
        self._job_of = job_of
        self._on_failure = on_failure
        self._max_jobs = max_jobs
        self._limits: dict[tuple[int, ...], _Limit] = {}

    def max_jobs(self, shape: tuple[int, ...]) -> int | None:
        """Most jobs of a shape per call; None for no limit."""
        limit = self._limits.get(shape)
        known = [number for number in (self._max_jobs, limit and limit.max_jobs) if number]
        return min(known, default=None)

    def run(
        self,
        batch: Sequence[_Entry],
        call: Callable[[Sequence[_Job]], Sequence[_Result]],
    ) -> list[tuple[_Entry, _Result]]:
        """Each entry of `batch` with its part of the result of `call`, except those that fail.

        Args:
            batch: jobs of one shape.
            call: must not change a job, so that it can be repeated.
        """
        if not batch:
            return []
        outcome = _attempt([self._job_of(entry) for entry in batch], call)
        if not isinstance(outcome, Exception):
            self._succeeded(batch)
            return list(zip(batch, outcome, strict=True))
        # Outside of the except block, which keeps the failed call's memory.
        release_memory_of(outcome)
        if len(batch) == 1:
            self._on_failure(batch[0], outcome)
            return []
        logger.warning("a call for %d jobs failed, trying halves: %s", len(batch), outcome)
        half = len(batch) // 2
        if is_out_of_memory(outcome):
            self._limits[self._job_of(batch[0]).shape] = _Limit(half)
        return [*self.run(batch[:half], call), *self.run(batch[half:], call)]

    def _succeeded(self, batch: Sequence[_Entry]) -> None:
        shape = self._job_of(batch[0]).shape
        limit = self._limits.get(shape)
        if limit is None or len(batch) < limit.max_jobs:
            return
        limit.num_successes += 1
        if limit.num_successes >= SUCCESSES_BEFORE_MORE:
            logger.info("trying calls for %d jobs again", 2 * limit.max_jobs)
            self._limits[shape] = _Limit(2 * limit.max_jobs)


def _attempt(
    jobs: Sequence[_Job], call: Callable[[Sequence[_Job]], Sequence[_Result]]
) -> Sequence[_Result] | Exception:
    """The result of the call, or the exception that it raised."""
    try:
        return call(jobs)
    except Exception as error:
        return error
