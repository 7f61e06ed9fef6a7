"""A request that a thread of a pool works on, beside the engine."""

import contextvars
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from riffusion.engine.request import Request
from riffusion.errors import GenerationCancelled

_Result = TypeVar("_Result")


class ThreadRequest(Request[_Result]):
    """A request that a thread works on."""

    _work: Future[None] | None = None

    def run_on(self, threads: ThreadPoolExecutor, stage: str, work: Callable[[], _Result]) -> None:
        """Do the work on a thread, when one is free.

        Args:
            threads: the pool.
            stage: name of the work in `stages_s`; the time before it is `waiting`.
            work: returns the request's result. It calls `check` now and then.
        """

        def run() -> None:
            self.end_stage("waiting")
            try:
                self.check()
                result = work()
                self.end_stage(stage)
            except BaseException as error:
                self.fail(error)
            else:
                self.succeed(result)

        self._work = threads.submit(contextvars.copy_context().run, run)

    def cancel(self, reason: GenerationCancelled | None = None) -> None:
        """Stop the work: at once if no thread has begun it, else when it next calls `check`."""
        super().cancel(reason)
        if self._work is not None and self._work.cancel() and self.cancellation is not None:
            self.fail(self.cancellation)

    def check(self) -> None:
        """Check that the request is still wanted.

        Raises:
            GenerationCancelled: it was cancelled.
        """
        if self.cancellation is not None:
            raise self.cancellation
