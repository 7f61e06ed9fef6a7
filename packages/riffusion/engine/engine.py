"""Continuous batching: one loop owns the model, and running jobs share its calls step by step.

    submit ─▶ waiting ─▶ prepare ─▶ running ─▶ step: one UNet call ─▶ decode ─▶ RequestHandle.image
                                       ▲                │ not done yet
                                       └────────────────┘

Running jobs form a queue. A step takes the first job and all others that fit into the same UNet
call: jobs of the same image size, with any prompts, step counts, strengths, schedulers and
guidance. Each advances by one step and moves to the end of the queue. So a job joins at the next
step and leaves when it is done, and if one call can't hold all jobs, they take turns. Scheduling is
round-robin by step, not by time: a long image slows short ones by as much as its steps cost.
"""

import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from PIL import Image

from riffusion.datatypes import InferenceInput
from riffusion.diffusion.batching import group_by_shape
from riffusion.diffusion.job import DenoisingJob
from riffusion.diffusion.pipeline import DECODE_SIZES, ProgressCallback, RiffusionPipeline
from riffusion.engine.calls import BatchCalls
from riffusion.engine.failures import check_finite, clip_failure, engine_death, model_failure
from riffusion.engine.request import RequestHandle
from riffusion.engine.watchdog import Watchdog
from riffusion.errors import GenerationError, RiffusionError
from riffusion.runtime.memory import release_memory_of
from riffusion.runtime.threads import single_threaded

logger = logging.getLogger(__name__)

MAX_ROWS = 16
"""Default for the maximum number of rows per UNet call: eight guided jobs."""
MAX_NUM_RUNNING = 16
"""Default for the number of slots. It bounds memory, and the time between two steps of a job."""
_NEWEST_STEP_WEIGHT = 0.2
"""Weight of the newest step in the moving average of the seconds per row."""


@dataclass(frozen=True)
class EngineStep:
    """What one step of the engine did.

    Args:
        num_jobs: number of jobs that shared the UNet call.
        num_rows: rows of the call; a guided job has two.
        seconds: duration of the call.
    """

    num_jobs: int
    num_rows: int
    seconds: float


@dataclass(eq=False)
class _RunningJob:
    job: DenoisingJob
    request: RequestHandle


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
        pipeline: RiffusionPipeline,
        max_rows: int = MAX_ROWS,
        max_num_running: int = MAX_NUM_RUNNING,
        on_step: Callable[[EngineStep], None] = lambda step: None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.pipeline = pipeline
        self.max_rows = max_rows
        self.max_num_running = max_num_running
        self.on_step = on_step
        self._clock = clock
        self._inbox: queue.SimpleQueue[RequestHandle | Future[None] | None] = queue.SimpleQueue()
        self._waiting: deque[RequestHandle] = deque()
        self._running: deque[_RunningJob] = deque()
        self._is_cuda = pipeline.device.type == "cuda"
        self._unet_calls = BatchCalls[_RunningJob](lambda running: running.job, self._fail)
        self._decode_calls = BatchCalls[_RunningJob](
            lambda running: running.job, self._fail, max(DECODE_SIZES) if self._is_cuda else None
        )
        self._watchdog = Watchdog(clock, pipeline.device.type)
        self._death: BaseException | None = None
        self._last_step_s = 0.0
        self._seconds_per_row = 0.0
        self._is_closed = False
        self._submit_lock = threading.Lock()
        self._thread = threading.Thread(target=self._loop, name="engine", daemon=True)

    def submit(
        self,
        inputs: InferenceInput,
        init_image: Image.Image | None = None,
        mask_image: Image.Image | None = None,
        on_progress: ProgressCallback | None = None,
    ) -> RequestHandle:
        """Request an image; see `RiffusionPipeline.prepare` for the arguments.

        Args:
            on_progress: called after each step with (steps done, number of steps), in the engine's
                thread.

        Raises:
            GenerationError: the engine is closed, or its thread has died.
        """
        request = RequestHandle(inputs, init_image, mask_image, on_progress)
        self._put(request)
        return request

    def warm_up(self) -> None:
        """Run `RiffusionPipeline.warm_up` in the engine's thread, and wait for it.

        Libraries choose their kernels for each thread anew, so no other thread's warm-up counts.

        Raises:
            GenerationError: the engine is closed, or its thread has died.
            Exception: what the warm-up raised.
        """
        done: Future[None] = Future()
        self._put(done)
        done.result()

    def _put(self, entry: RequestHandle | Future[None]) -> None:
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
        return len(self._running)

    @property
    def num_waiting(self) -> int:
        """Number of requests that wait for a slot."""
        return len(self._waiting) + self._inbox.qsize()

    @property
    def is_healthy(self) -> bool:
        """Whether the engine's thread lives, and its present call isn't far older than usual."""
        return self._death is None and not self._watchdog.is_hanging

    def seconds_until_an_image_is_done(self) -> float:
        """Estimated seconds until the first running job is done, at the speed of recent steps."""
        jobs = [running.job for running in list(self._running) if not running.job.is_done]
        if not jobs:
            return 0.0
        round_s = self._seconds_per_row * sum(job.num_rows for job in jobs)  # one step per job
        return round_s * min(job.steps_left for job in jobs)

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
        entries: list[RequestHandle | Future[None] | None] = [
            *(running.request for running in self._running),
            *self._waiting,
        ]
        self._running.clear()
        self._waiting.clear()
        while not self._inbox.empty():
            entries.append(self._inbox.get())
        for entry in entries:
            if isinstance(entry, RequestHandle):
                entry.fail(engine_death(error))
            elif entry is not None:
                entry.set_exception(engine_death(error))

    def _run_loop(self) -> None:
        while self._receive():
            try:
                self._step()
            except Exception as error:  # a bug in this module must not end the loop
                logger.exception("the engine failed; its running jobs fail")
                for running in self._running:
                    running.request.fail(model_failure(error))
                self._running.clear()

    def _receive(self) -> bool:
        """Move submitted requests to `_waiting`; block if idle. False once closed and idle."""
        while not self._inbox.empty() or not (self._running or self._waiting):
            request = self._inbox.get()
            if request is None:  # always the last entry: after closing nothing is submitted
                self._inbox.put(None)
                return bool(self._running or self._waiting)
            if isinstance(request, Future):
                self._warm_up(request)
            else:
                self._waiting.append(request)
        return True

    def _warm_up(self, done: Future[None]) -> None:
        try:
            self.pipeline.warm_up()
        except Exception as error:
            done.set_exception(error)
        else:
            done.set_result(None)

    def _step(self) -> None:
        batch = self._schedule()
        self._run(batch)
        self._postprocess(batch)

    def _schedule(self) -> list[_RunningJob]:
        """Fill free slots, and choose the jobs of the next UNet call; none if all are done."""
        self._drop_inactive()
        self._fill_slots()
        undone = [running for running in self._running if not running.job.is_done]
        if not undone:
            return []
        shape = undone[0].job.shape
        free_rows = self.max_rows / self.pipeline.relative_length(shape)
        batch: list[_RunningJob] = []
        for running in undone:
            fits = running.job.shape == shape and running.job.num_rows <= free_rows
            if fits or not batch:
                batch.append(running)
                free_rows -= running.job.num_rows
        return batch[: self._unet_calls.max_jobs(shape)]

    def _drop_inactive(self) -> None:
        """Free the slots of requests that were cancelled or have failed."""
        for request in (*(running.request for running in self._running), *self._waiting):
            if request.cancellation is not None:
                request.fail(request.cancellation)
        self._running = deque(running for running in self._running if running.request.is_active)
        self._waiting = deque(request for request in self._waiting if request.is_active)

    def _fill_slots(self) -> None:
        """Start waiting requests, first come first served.

        Running jobs wait meanwhile, but for at most about the duration of one step.
        """
        until = self._clock() + self._last_step_s
        while self._waiting and len(self._running) < self.max_num_running:
            self._prepare(self._waiting.popleft())
            if self._running and self._clock() > until:
                return

    def _prepare(self, request: RequestHandle) -> None:
        request.end_stage("waiting")
        try:
            with self._watchdog.watching():
                job = self.pipeline.prepare(request.inputs, request.init_image, request.mask_image)
        except RiffusionError as error:
            request.fail(error)
            return
        except Exception as error:
            failure = error
        else:
            request.end_stage("prepare")
            self._running.append(_RunningJob(job, request))
            return
        release_memory_of(failure)
        request.fail(model_failure(failure))

    def _run(self, batch: Sequence[_RunningJob]) -> None:
        """Advance each job of the batch by one step, with one UNet call."""
        if not batch:
            return
        num_rows = sum(running.job.num_rows for running in batch)
        started = self._clock()
        with self._watchdog.watching():
            for running, prediction in self._unet_calls.run(batch, self.pipeline.predict):
                self._advance(running, prediction)
            if self.pipeline.device.type == "cuda":  # so that the duration includes the GPU's work
                torch.cuda.current_stream(self.pipeline.device).synchronize()
        self._record(EngineStep(len(batch), num_rows, self._clock() - started))

    def _advance(self, running: _RunningJob, prediction: torch.Tensor) -> None:
        try:
            running.job.advance(prediction)
        except Exception as error:
            failure = error
        else:
            running.request.report(running.job.steps_done, running.job.num_steps)
            return
        release_memory_of(failure)
        self._fail(running, failure)

    def _record(self, step: EngineStep) -> None:
        """Update the measured speed, and call `on_step`."""
        self._last_step_s = step.seconds
        newest = step.seconds / step.num_rows
        weight = _NEWEST_STEP_WEIGHT if self._seconds_per_row else 1.0
        self._seconds_per_row += (newest - self._seconds_per_row) * weight
        try:
            self.on_step(step)
        except Exception:
            logger.exception("on_step failed")

    def _postprocess(self, batch: Sequence[_RunningJob]) -> None:
        """Decode the jobs that are done, and move the others of the batch to the queue's end."""
        self._decode(
            [
                running
                for running in self._running
                if running.job.is_done and running.request.is_active
            ]
        )
        skipped = [running for running in self._running if running not in batch]
        self._running = deque(
            running for running in (*skipped, *batch) if not running.request.image.done()
        )

    def _decode(self, done: Sequence[_RunningJob]) -> None:
        """Complete the requests of finished jobs with their images."""
        for running in done:
            running.request.end_stage("diffusion")
        for indices in group_by_shape([running.job for running in done]):
            group = [done[index] for index in indices]
            while group:
                size = self._decode_calls.max_jobs(group[0].job.shape)
                part, group = group[:size], group[size:] if size else []
                with self._watchdog.watching():
                    images = self._decode_calls.run(part, self._decode_finite)
                for running, image in images:
                    running.request.end_stage("decode")
                    running.request.succeed(image)

    def _decode_finite(self, jobs: Sequence[DenoisingJob]) -> list[Image.Image]:
        for job in jobs:
            check_finite(job, self.pipeline.unet.dtype)
        return self.pipeline.decode(jobs)

    def _fail(self, running: _RunningJob, error: Exception) -> None:
        """Complete a request whose job failed, alone in its call."""
        length = self.pipeline.relative_length(running.job.shape)
        running.request.fail(clip_failure(error, length))
