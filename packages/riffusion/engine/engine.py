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
from dataclasses import dataclass
from typing import TypeVar

import torch
from PIL import Image

from riffusion.datatypes import InferenceInput
from riffusion.diffusion.job import DenoisingJob
from riffusion.diffusion.pipeline import ProgressCallback, RiffusionPipeline
from riffusion.engine.request import RequestHandle
from riffusion.errors import GenerationError, InputError, RiffusionError

logger = logging.getLogger(__name__)

MAX_ROWS = 16
"""Default for the maximum number of rows per UNet call: eight guided jobs."""
MAX_NUM_RUNNING = 16
"""Default for the number of slots. It bounds memory, and the time between two steps of a job."""
_USUAL_GUIDANCE = 10.0
"""Up to this guidance, latents that aren't finite are the model's fault, not the request's."""
_NEWEST_STEP_WEIGHT = 0.2
"""Weight of the newest step in the moving average of the seconds per row."""

_Result = TypeVar("_Result")


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
        self._inbox: queue.SimpleQueue[RequestHandle | None] = queue.SimpleQueue()
        self._waiting: deque[RequestHandle] = deque()
        self._running: deque[_RunningJob] = deque()
        self._max_jobs: dict[torch.Size, int] = {}
        """Maximum jobs per call, for shapes that ran out of memory."""
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
            GenerationError: the engine is closed.
        """
        request = RequestHandle(inputs, init_image, mask_image, on_progress)
        with self._submit_lock:
            if self._is_closed:
                raise GenerationError("the engine is closed")
            self._inbox.put(request)
            if not self._thread.is_alive():
                self._thread.start()
        return request

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

    def seconds_until_an_image_is_done(self) -> float:
        """Estimated seconds until the first running job is done, at the speed of recent steps."""
        jobs = [running.job for running in list(self._running) if not running.job.is_done]
        if not jobs:
            return 0.0
        round_s = self._seconds_per_row * sum(job.num_rows for job in jobs)  # one step per job
        return round_s * min(job.steps_left for job in jobs)

    def _loop(self) -> None:
        while self._receive():
            try:
                self._step()
            except Exception as error:  # a bug in this module must not end the loop
                logger.exception("the engine failed; its running jobs fail")
                for running in self._running:
                    running.request.fail(_model_failure(error))
                self._running.clear()

    def _receive(self) -> bool:
        """Move submitted requests to `_waiting`; block if idle. False once closed and idle."""
        while not self._inbox.empty() or not (self._running or self._waiting):
            request = self._inbox.get()
            if request is None:  # always the last entry: after closing nothing is submitted
                self._inbox.put(None)
                return bool(self._running or self._waiting)
            self._waiting.append(request)
        return True

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
        return batch[: self._max_jobs.get(shape)]

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
            job = self.pipeline.prepare(request.inputs, request.init_image, request.mask_image)
        except RiffusionError as error:
            request.fail(error)
        except Exception as error:
            request.fail(_model_failure(error))
        else:
            request.end_stage("prepare")
            self._running.append(_RunningJob(job, request))

    def _run(self, batch: Sequence[_RunningJob]) -> None:
        """Advance each job of the batch by one step, with one UNet call."""
        if not batch:
            return
        num_rows = sum(running.job.num_rows for running in batch)
        started = self._clock()
        for running, prediction in self._call_in_parts(batch, self.pipeline.predict):
            try:
                running.job.advance(prediction)
            except Exception as error:
                running.request.fail(_model_failure(error))
            else:
                running.request.report(running.job.steps_done, running.job.num_steps)
        if self.pipeline.device.type == "cuda":  # so that the duration includes the GPU's work
            torch.cuda.current_stream(self.pipeline.device).synchronize()
        self._record(EngineStep(len(batch), num_rows, self._clock() - started))

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
        for running, image in self._call_in_parts(done, self._decode_finite):
            running.request.end_stage("decode")
            running.request.succeed(image)

    def _decode_finite(self, jobs: Sequence[DenoisingJob]) -> list[Image.Image]:
        for job in jobs:
            _check_finite(job)
        return self.pipeline.decode(jobs)

    def _call_in_parts(
        self,
        batch: Sequence[_RunningJob],
        call: Callable[[Sequence[DenoisingJob]], Sequence[_Result]],
    ) -> list[tuple[_RunningJob, _Result]]:
        """Each job with its part of the result of `call` on the whole batch.

        If the call fails, it is repeated on halves of the batch, down to the single job that it
        fails for, whose request fails. `call` must not change a job, so that it can be repeated.
        """
        if not batch:
            return []
        try:
            return list(zip(batch, call([running.job for running in batch]), strict=True))
        except Exception as error:
            if len(batch) == 1:
                is_known = isinstance(error, RiffusionError)
                batch[0].request.fail(error if is_known else _model_failure(error))
                return []
            logger.warning("a call for %d jobs failed, trying halves: %s", len(batch), error)
            half = len(batch) // 2
            if isinstance(error, torch.OutOfMemoryError):
                torch.cuda.empty_cache()
                self._max_jobs[batch[0].job.shape] = half
            return [
                *self._call_in_parts(batch[:half], call),
                *self._call_in_parts(batch[half:], call),
            ]


def _check_finite(job: DenoisingJob) -> None:
    """Check that a job's latents are finite.

    Raises:
        InputError: they aren't, and the guidance is unusually high.
        GenerationError: they aren't, at usual guidance.
    """
    if bool(torch.isfinite(job.latents).all()):
        return
    message = f"the latents are not finite after {job.num_steps} steps in {job.latents.dtype}"
    if job.guidance > _USUAL_GUIDANCE:
        raise InputError(f"{message}; lower guidance={job.guidance:g}", "start.guidance")
    raise GenerationError(message)


def _model_failure(error: Exception) -> GenerationError:
    failure = GenerationError(f"the model failed on this clip: {error}")
    failure.__cause__ = error
    return failure
