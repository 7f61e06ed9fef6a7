"""The jobs of the engine: which ones wait, which ones run, and what a step does with them.

    add ─▶ waiting ─▶ prepare ─▶ running ─▶ step: one UNet call ─▶ decode ─▶ RequestHandle.image
                                    ▲                │ not done yet
                                    └────────────────┘

Running jobs form a queue. A step takes the first job and all others that fit into the same UNet
call: jobs of the same image size and the same LoRAs, with any prompts, step counts, strengths,
schedulers and guidance. Each advances by one step and moves to the end of the queue. So a job joins
at the next step and leaves when it is done, and if one call can't hold all jobs, they take turns.
Scheduling is round-robin by step, not by time: a long image slows short ones by as much as its
steps cost.

A canvas takes part with as many of its windows as fit, and moves to the end like a job, so clips
don't wait for a whole step of it.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

from PIL import Image

from riffusion.diffusion.batching import group_by_shape
from riffusion.diffusion.canvas import Canvas
from riffusion.diffusion.job import DenoisingJob, UNetRows
from riffusion.engine.calls import BatchCalls
from riffusion.engine.failures import check_finite, clip_failure, engine_death, model_failure
from riffusion.engine.model import Model
from riffusion.engine.request import EngineRequest
from riffusion.engine.watchdog import Watchdog
from riffusion.errors import RiffusionError
from riffusion.runtime.memory import release_memory_of

logger = logging.getLogger(__name__)

_NEWEST_STEP_WEIGHT = 0.2
"""Weight of the newest step in the moving average of the seconds per row."""


@dataclass(frozen=True)
class EngineStep:
    """What one step of the engine did.

    Args:
        num_jobs: number of jobs and windows that shared the UNet call.
        num_rows: rows of the call; a guided job has two.
        seconds: duration of the call.
    """

    num_jobs: int
    num_rows: int
    seconds: float


@dataclass(eq=False)
class _Running:
    job: DenoisingJob | Canvas
    request: EngineRequest[Any]


class _Part(NamedTuple):
    """What takes part in a UNet call: a job, or a window of a canvas."""

    running: _Running
    rows: UNetRows


class JobQueue:
    """Waiting requests and running jobs. One thread uses it; any thread may read its numbers.

    Args:
        pipeline: the model.
        max_rows: maximum rows per UNet call, for clips of the usual length. A row of an image of
            twice that length counts twice.
        max_num_running: number of slots: jobs that take turns. Further requests wait.
        on_step: called after each step.
        watchdog: watches each piece of work of the model.
        clock: current time in seconds.
    """

    def __init__(
        self,
        pipeline: Model,
        *,
        max_rows: int,
        max_num_running: int,
        on_step: Callable[[EngineStep], None],
        watchdog: Watchdog,
        clock: Callable[[], float],
    ) -> None:
        self._pipeline = pipeline
        self._max_rows = max_rows
        self._max_num_running = max_num_running
        self._on_step = on_step
        self._watchdog = watchdog
        self._clock = clock
        self._waiting: deque[EngineRequest[Any]] = deque()
        self._running: deque[_Running] = deque()
        decode_size = None
        if pipeline.device.type == "cuda":
            from riffusion.diffusion.pipeline import DECODE_SIZES

            decode_size = max(DECODE_SIZES)
        self._unet_calls = BatchCalls[_Part, UNetRows](
            lambda part: part.rows, lambda part, error: self._fail(part.running, error)
        )
        self._decode_calls = BatchCalls[_Running, DenoisingJob](
            lambda running: cast(DenoisingJob, running.job), self._fail, decode_size
        )
        self._last_step_s = 0.0
        self._seconds_per_row = 0.0

    @property
    def num_running(self) -> int:
        """Number of jobs that have a slot."""
        return len(self._running)

    @property
    def num_waiting(self) -> int:
        """Number of requests that wait for a slot."""
        return len(self._waiting)

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to do."""
        return not (self._running or self._waiting)

    def seconds_until_an_image_is_done(self) -> float:
        """Estimated seconds until the first running job is done, at the speed of recent steps."""
        jobs = [running.job for running in list(self._running) if not running.job.is_done]
        if not jobs:
            return 0.0
        round_s = self._seconds_per_row * sum(job.num_rows for job in jobs)  # one step per job
        return round_s * min(job.steps_left for job in jobs)

    def add(self, request: EngineRequest[Any]) -> None:
        """Let a request wait for a slot."""
        self._waiting.append(request)

    def fail_running(self, error: Exception) -> None:
        """Fail the running jobs' requests after a bug; waiting ones stay."""
        for running in self._running:
            running.request.fail(model_failure(error))
        self._running.clear()

    def fail_all(self, death: BaseException) -> None:
        """Fail every request, as the engine's thread has died; none is left."""
        for request in (*(running.request for running in self._running), *self._waiting):
            request.fail(engine_death(death))
        self._running.clear()
        self._waiting.clear()

    def step(self) -> None:
        """Start waiting requests, run one UNet call, and decode the jobs that are done."""
        batch = self._schedule()
        self._run(batch)
        self._postprocess(batch)

    def _schedule(self) -> list[_Part]:
        """Fill slots, and choose what takes part in the next UNet call: none if all is done."""
        self._drop_inactive()
        self._fill_slots()
        undone = [running for running in self._running if not running.job.is_done]
        if not undone:
            return []
        shape, loras = undone[0].job.shape, undone[0].job.parts[0].loras
        free_rows = self._max_rows / self._pipeline.relative_length(shape)
        batch: list[_Part] = []
        for running in undone:
            for rows in running.job.parts:
                agrees = rows.shape == shape and rows.loras == loras
                if (agrees and rows.num_rows <= free_rows) or not batch:
                    batch.append(_Part(running, rows))
                    free_rows -= rows.num_rows
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
        while self._waiting and len(self._running) < self._max_num_running:
            self._prepare(self._waiting.popleft())
            if self._running and self._clock() > until:
                return

    def _prepare(self, request: EngineRequest[Any]) -> None:
        request.end_stage("waiting")
        try:
            with self._watchdog.watching():
                job = request.prepare(self._pipeline)
        except RiffusionError as error:
            request.fail(error)
            return
        except Exception as error:
            failure = error
        else:
            request.end_stage("prepare")
            self._running.append(_Running(job, request))
            return
        release_memory_of(failure)
        request.fail(model_failure(failure))

    def _run(self, batch: Sequence[_Part]) -> None:
        """Advance each job or window of the batch by one step, with one UNet call."""
        if not batch:
            return
        num_rows = sum(part.rows.num_rows for part in batch)
        started = self._clock()
        with self._watchdog.watching():
            for part, prediction in self._unet_calls.run(batch, self._pipeline.predict):
                self._advance(part, prediction)
            if self._pipeline.device.type == "cuda":  # so that the duration includes the GPU's work
                import torch

                torch.cuda.current_stream(self._pipeline.device).synchronize()
        self._record(EngineStep(len(batch), num_rows, self._clock() - started))

    def _advance(self, part: _Part, prediction: Any) -> None:
        running = part.running
        try:
            part.rows.advance(prediction)
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
            self._on_step(step)
        except Exception:
            logger.exception("on_step failed")

    def _postprocess(self, batch: Sequence[_Part]) -> None:
        """Complete what is done, and move the rest of the batch to the queue's end."""
        done = [
            running
            for running in self._running
            if running.job.is_done and running.request.is_active
        ]
        for running in done:
            running.request.end_stage("diffusion")
            if isinstance(running.job, Canvas):
                self._complete(running, running.job)
        self._decode([running for running in done if isinstance(running.job, DenoisingJob)])
        ran = list(dict.fromkeys(part.running for part in batch))
        skipped = [running for running in self._running if running not in ran]
        self._running = deque(
            running for running in (*skipped, *ran) if not running.request.outcome.done()
        )

    def _complete(self, running: _Running, canvas: Canvas) -> None:
        """Complete the request of a finished canvas with its latents."""
        try:
            check_finite(canvas.job, self._pipeline.unet.dtype)
        except RiffusionError as error:
            running.request.fail(error)
        else:
            running.request.succeed(canvas.latents)

    def _decode(self, done: Sequence[_Running]) -> None:
        """Complete the requests of finished jobs with their images."""
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
            check_finite(job, self._pipeline.unet.dtype)
        return self._pipeline.decode(jobs)

    def _fail(self, running: _Running, error: Exception) -> None:
        """Complete a request whose job failed, alone in its call."""
        length = self._pipeline.relative_length(running.job.shape)
        running.request.fail(clip_failure(error, length))
