"""Continuous batching: one thread owns the model, and requests of any thread share its calls.

    any thread:           submit ─▶ inbox ─┐                           ┌─▶ RequestHandle.image
    the engine's thread:                   └─▶ JobQueue: step by step ─┘

What a step does, and which jobs share it, is in `job_queue`.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, TypeVar

from PIL import Image

from riffusion.datatypes import InferenceInput
from riffusion.engine.failures import engine_death
from riffusion.engine.job_queue import EngineStep, JobQueue
from riffusion.engine.model import Model
from riffusion.engine.request import CanvasRequest, EngineRequest, RequestHandle
from riffusion.engine.watchdog import Watchdog
from riffusion.errors import GenerationError
from riffusion.runtime.threads import single_threaded

if TYPE_CHECKING:
    from riffusion.diffusion.canvas import CanvasPlan
    from riffusion.diffusion.magic_mix import MagicMix
    from riffusion.diffusion.stages import ProgressCallback

__all__ = ["MAX_NUM_RUNNING", "MAX_ROWS", "Engine", "EngineStep"]

logger = logging.getLogger(__name__)

_Result = TypeVar("_Result")

MAX_ROWS = 16
"""Default for the maximum number of rows per UNet call: eight guided jobs."""
MAX_NUM_RUNNING = 16
"""Default for the number of slots. It bounds memory, and the time between two steps of a job."""


class _Call:
    """A function to call in the engine's thread, and its future result."""

    def __init__(self, function: Callable[[], Any]) -> None:
        self._function = function
        self.outcome: Future[Any] = Future()
        self.outcome.set_running_or_notify_cancel()

    def run(self) -> None:
        try:
            self.outcome.set_result(self._function())
        except Exception as error:
            self.outcome.set_exception(error)


class Engine:
    """Runs any number of requests on one pipeline. Any thread may submit; one thread computes.

    Args:
        pipeline: the model. Nothing else may use it at the same time.
        max_rows: maximum rows per UNet call, for clips of the usual length. A row of an image of
            twice that length counts twice.
        max_num_running: number of slots: jobs that take turns. Further requests wait.
        on_step: called after each step, in the engine's thread.
        clock: current time in seconds.
    """

    def __init__(
        self,
        pipeline: Model,
        max_rows: int = MAX_ROWS,
        max_num_running: int = MAX_NUM_RUNNING,
        on_step: Callable[[EngineStep], None] = lambda step: None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.pipeline = pipeline
        self.max_rows = max_rows
        self.max_num_running = max_num_running
        self.on_step = on_step
        self._inbox: queue.SimpleQueue[EngineRequest[Any] | _Call | None] = queue.SimpleQueue()
        self._is_cuda = pipeline.device.type == "cuda"
        self._watchdog = Watchdog(clock, pipeline.device.type)
        self._jobs = JobQueue(
            pipeline,
            max_rows=max_rows,
            max_num_running=max_num_running,
            on_step=lambda step: self.on_step(step),  # which may be replaced
            watchdog=self._watchdog,
            clock=clock,
        )
        self._death: BaseException | None = None
        self._is_closed = False
        self._submit_lock = threading.Lock()
        self._thread = threading.Thread(target=self._loop, name="engine", daemon=True)

    def submit(
        self,
        inputs: InferenceInput,
        init_image: Image.Image | None = None,
        mask_image: Image.Image | None = None,
        on_progress: ProgressCallback | None = None,
        mix: MagicMix | None = None,
    ) -> RequestHandle:
        """Request an image; see `RiffusionPipeline.prepare` for the arguments.

        Args:
            on_progress: called after each step with (steps done, number of steps), in the engine's
                thread.

        Raises:
            GenerationError: the engine is closed, or its thread has died.
        """
        request = RequestHandle(inputs, init_image, mask_image, on_progress, mix)
        self._put(request)
        return request

    def warm_up(self) -> None:
        """Run `RiffusionPipeline.warm_up` in the engine's thread, and wait for it.

        Libraries choose their kernels for each thread anew, so no other thread's warm-up counts.

        Raises:
            GenerationError: the engine is closed, or its thread has died.
            Exception: what the warm-up raised.
        """
        self.call(self.pipeline.warm_up).result()

    def call(self, function: Callable[[], _Result]) -> Future[_Result]:
        """Call a function in the engine's thread, between two steps.

        Args:
            function: uses the model, for no longer than about a step.

        Raises:
            GenerationError: the engine is closed, or its thread has died.
        """
        call = _Call(function)
        self._put(call)
        return call.outcome

    def submit_canvas(
        self,
        inputs: InferenceInput,
        plan: CanvasPlan,
        on_progress: ProgressCallback | None = None,
    ) -> CanvasRequest:
        """Request a canvas' latents; see `RiffusionPipeline.prepare_canvas` for the arguments.

        Args:
            on_progress: as for `submit`; a step is counted once per window.

        Raises:
            GenerationError: the engine is closed, or its thread has died.
        """
        request = CanvasRequest(inputs, plan, on_progress)
        self._put(request)
        return request

    def _put(self, entry: EngineRequest[Any] | _Call) -> None:
        with self._submit_lock:
            if self._is_closed:
                raise GenerationError("the engine is closed")
            if self._death is not None:
                raise engine_death(self._death)
            self._inbox.put(entry)
            if not self._thread.is_alive():
                self._thread.start()

    def close(self) -> None:
        """Complete all submitted requests, then end the thread."""
        with self._submit_lock:
            was_closed, self._is_closed = self._is_closed, True
        if not was_closed:
            self._inbox.put(None)
        if self._thread.is_alive():
            self._thread.join()

    @property
    def num_running(self) -> int:
        """Number of jobs that have a slot."""
        return self._jobs.num_running

    @property
    def num_waiting(self) -> int:
        """Number of requests that wait for a slot."""
        return self._jobs.num_waiting + self._inbox.qsize()

    @property
    def is_healthy(self) -> bool:
        """Whether the engine's thread lives, and its present call isn't far older than usual."""
        return self._death is None and not self._watchdog.is_hanging

    def seconds_until_an_image_is_done(self) -> float:
        """Estimated seconds until the first running job is done, at the speed of recent steps."""
        return self._jobs.seconds_until_an_image_is_done()

    def _loop(self) -> None:
        # Beside a GPU there is little to compute on the CPU, so the thread needs no OpenMP team.
        with single_threaded() if self._is_cuda else nullcontext():
            try:
                self._run_loop()
            except BaseException as error:  # such as SystemExit; the thread ends
                self._die(error)

    def _die(self, error: BaseException) -> None:
        """Fail everything that was submitted; nobody would complete it."""
        logger.critical("the engine's thread has died", exc_info=error)
        with self._submit_lock:
            self._death = error
        self._jobs.fail_all(error)
        while not self._inbox.empty():
            entry = self._inbox.get()
            if isinstance(entry, EngineRequest):
                entry.fail(engine_death(error))
            elif entry is not None:
                entry.outcome.set_exception(engine_death(error))

    def _run_loop(self) -> None:
        while self._receive():
            try:
                self._jobs.step()
            except Exception as error:  # a bug in a step must not end the loop
                logger.exception("the engine failed; its running jobs fail")
                self._jobs.fail_running(error)

    def _receive(self) -> bool:
        """Move submitted requests to the queue; block if idle. False once closed and idle."""
        while not self._inbox.empty() or self._jobs.is_empty:
            request = self._inbox.get()
            if request is None:  # always the last entry: after closing nothing is submitted
                self._inbox.put(None)
                return not self._jobs.is_empty
            if isinstance(request, _Call):
                request.run()
            else:
                self._jobs.add(request)
        return True
