"""Continuous batching: one loop owns the model, and live jobs share its calls step by step.

    submit ─▶ waiting ─▶ prepare ─▶ line ─▶ a tick: one UNet call ─▶ decode ─▶ RequestHandle.image
                                     ▲                │ not done yet
                                     └────────────────┘

The live jobs stand in a line. A tick takes the one in front and, from those behind it, all that
fit into the same UNet call: jobs of the same image size, whatever their prompts, steps,
strengths, schedulers and guidance. Each goes one step further and then to the end of the line. So
a job joins at the next tick and leaves when it is done; and where one call can't hold all, each
still gets its turn as often as any other. Turns are counted, not their time: a long image among
short ones slows them by as much as its steps cost.
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
"""Rows of one UNet call, where nothing else is said: eight guided jobs."""
MAX_NUM_RUNNING = 16
"""Jobs in the line; more wait, so that memory is bounded and each gets on."""
_USUAL_GUIDANCE = 10.0
"""Up to here, latents that aren't numbers are the model's fault and not the request's."""
_NEWEST_TICK = 0.2
"""Weight of the newest tick in the mean duration of a row."""

_Result = TypeVar("_Result")


@dataclass(frozen=True)
class EngineStep:
    """What one turn of the loop did.

    Args:
        num_jobs: that shared the UNet call.
        num_rows: of the call; two for a guided job.
        seconds: it took.
    """

    num_jobs: int
    num_rows: int
    seconds: float


@dataclass(eq=False)
class _Running:
    """A job in the line, and whose it is."""

    job: DenoisingJob
    ticket: RequestHandle


class Engine:
    """Runs any number of jobs on one pipeline. Threads submit; one thread of its own computes.

    Args:
        pipeline: the model. Nobody else may use it in the meantime.
        max_rows: of one UNet call, for clips of the usual length; a row of an image twice as
            long counts twice.
        max_num_running: jobs that share the model's time; the others wait.
        on_step: called after each tick, in the engine's thread.
    """

    def __init__(
        self,
        pipeline: RiffusionPipeline,
        max_rows: int = MAX_ROWS,
        max_num_running: int = MAX_NUM_RUNNING,
        on_step: Callable[[EngineStep], None] = lambda tick: None,
    ) -> None:
        self.pipeline = pipeline
        self.max_rows = max_rows
        self.max_num_running = max_num_running
        self.on_step = on_step
        self._inbox: queue.SimpleQueue[RequestHandle | None] = queue.SimpleQueue()
        self._waiting: deque[RequestHandle] = deque()
        self._running: deque[_Running] = deque()
        self._most_jobs: dict[torch.Size, int] = {}
        """Of one call, for shapes that the device ran out of memory with."""
        self._tick_s = 0.0
        self._row_s = 0.0
        self._is_closed = False
        self._door = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)

    def submit(
        self,
        inputs: InferenceInput,
        init_image: Image.Image | None = None,
        mask_image: Image.Image | None = None,
        on_progress: ProgressCallback | None = None,
    ) -> RequestHandle:
        """Ask for an image; see `RiffusionPipeline.prepare` for the arguments.

        Args:
            on_progress: called after each step with (steps done, steps in all), in the engine's
                thread.

        Raises:
            GenerationError: the engine is closed.
        """
        ticket = RequestHandle(inputs, init_image, mask_image, on_progress)
        with self._door:
            if self._is_closed:
                raise GenerationError("the engine is closed")
            self._inbox.put(ticket)
            if not self._thread.is_alive():
                self._thread.start()
        return ticket

    def close(self) -> None:
        """Finish what was submitted, then end the thread."""
        with self._door:
            was_closed, self._is_closed = self._is_closed, True
        if not was_closed:
            self._inbox.put(None)
        if self._thread.is_alive():
            self._thread.join()

    @property
    def num_running(self) -> int:
        """Jobs that share the model's time."""
        return len(self._running)

    @property
    def num_waiting(self) -> int:
        """Jobs behind them."""
        return len(self._waiting) + self._inbox.qsize()

    def seconds_until_an_image_is_done(self) -> float:
        """Of those in the line, at the pace of the last ticks."""
        jobs = [live.job for live in list(self._running) if not live.job.is_done]
        if not jobs:
            return 0.0
        round_s = self._row_s * sum(job.num_rows for job in jobs)  # in which each job steps once
        return round_s * min(job.steps_left for job in jobs)

    def _run(self) -> None:
        while self._collect():
            try:
                self._drop_unwanted()
                self._admit()
                self._tick()
            except Exception as error:  # a mistake in this module must not end the loop
                logger.exception("the engine failed; its live jobs are given up")
                self._give_up_line(error)

    def _collect(self) -> bool:
        """Read the inbox, waiting if there is nothing else to do; False at the end."""
        while not self._inbox.empty() or not (self._running or self._waiting):
            ticket = self._inbox.get()
            if ticket is None:  # the last entry, as nothing is submitted after closing
                self._inbox.put(None)
                return bool(self._running or self._waiting)
            self._waiting.append(ticket)
        return True

    def _drop_unwanted(self) -> None:
        """Free the places of jobs that were cancelled or have failed."""
        for ticket in (*(live.ticket for live in self._running), *self._waiting):
            if ticket.cancellation is not None:
                ticket.fail(ticket.cancellation)
        self._running = deque(live for live in self._running if live.ticket.is_wanted)
        self._waiting = deque(ticket for ticket in self._waiting if ticket.is_wanted)

    def _admit(self) -> None:
        """Let jobs that wait join the line, first come first served.

        Those in the line wait for that as long as for one more tick, and not longer.
        """
        until = time.perf_counter() + self._tick_s
        while self._waiting and len(self._running) < self.max_num_running:
            self._prepare(self._waiting.popleft())
            if self._running and time.perf_counter() > until:
                return

    def _prepare(self, ticket: RequestHandle) -> None:
        ticket.end_stage("waiting")
        try:
            job = self.pipeline.prepare(ticket.inputs, ticket.init_image, ticket.mask_image)
        except RiffusionError as error:
            ticket.fail(error)
        except Exception as error:
            ticket.fail(_model_failure(error))
        else:
            ticket.end_stage("prepare")
            self._running.append(_Running(job, ticket))

    def _tick(self) -> None:
        """One UNet call for the front of the line and those that fit beside it."""
        batch = self._next_batch()
        if batch:
            num_rows = sum(live.job.num_rows for live in batch)
            started = time.perf_counter()
            self._advance(batch)
            self._note(EngineStep(len(batch), num_rows, time.perf_counter() - started))
        self._decode([live for live in self._running if live.job.is_done and live.ticket.is_wanted])
        passed_over = [live for live in self._running if live not in batch]
        self._running = deque(
            live for live in (*passed_over, *batch) if not live.ticket.image.done()
        )

    def _next_batch(self) -> list[_Running]:
        """The front of the line, with all that can share its call; none if all are done."""
        undone = [live for live in self._running if not live.job.is_done]
        if not undone:
            return []
        shape = undone[0].job.shape
        room = self.max_rows / self.pipeline.relative_length(shape)
        batch: list[_Running] = []
        for live in undone:
            if live.job.shape == shape and (live.job.num_rows <= room or not batch):
                batch.append(live)
                room -= live.job.num_rows
        return batch[: self._most_jobs.get(shape)]

    def _advance(self, batch: Sequence[_Running]) -> None:
        """Take a step with each."""
        for live, prediction in self._in_parts(batch, self.pipeline.predict):
            try:
                live.job.advance(prediction)
            except Exception as error:
                live.ticket.fail(_model_failure(error))
            else:
                live.ticket.report(live.job.steps_done, live.job.num_steps)
        if self.pipeline.device.type == "cuda":  # so that a tick's time is its own
            torch.cuda.current_stream(self.pipeline.device).synchronize()

    def _decode(self, done: Sequence[_Running]) -> None:
        """Turn finished jobs into images."""
        for live in done:
            live.ticket.end_stage("diffusion")
        for live, image in self._in_parts(done, self._decode_finite):
            live.ticket.end_stage("decode")
            live.ticket.succeed(image)

    def _decode_finite(self, jobs: Sequence[DenoisingJob]) -> list[Image.Image]:
        for job in jobs:
            _check_finite(job)
        return self.pipeline.decode(jobs)

    def _in_parts(
        self,
        batch: Sequence[_Running],
        work: Callable[[Sequence[DenoisingJob]], Sequence[_Result]],
    ) -> list[tuple[_Running, _Result]]:
        """Each job with its part of the result of `work` on all of them.

        Where that fails, halves are tried, down to the one job that it fails for, whose ticket ends
        here. `work` changes no job, so it can be repeated.
        """
        if not batch:
            return []
        try:
            return list(zip(batch, work([live.job for live in batch]), strict=True))
        except Exception as error:
            if len(batch) == 1:
                is_known = isinstance(error, RiffusionError)
                batch[0].ticket.fail(error if is_known else _model_failure(error))
                return []
            logger.warning("a call for %d jobs failed, trying halves: %s", len(batch), error)
            half = len(batch) // 2
            if isinstance(error, torch.OutOfMemoryError):
                torch.cuda.empty_cache()
                self._most_jobs[batch[0].job.shape] = half
            return [*self._in_parts(batch[:half], work), *self._in_parts(batch[half:], work)]

    def _note(self, tick: EngineStep) -> None:
        """Keep the pace, and tell the observer."""
        self._tick_s = tick.seconds
        newest = tick.seconds / tick.num_rows
        self._row_s += (newest - self._row_s) * (_NEWEST_TICK if self._row_s else 1.0)
        try:
            self.on_step(tick)
        except Exception:
            logger.exception("the engine's observer failed")

    def _give_up_line(self, error: Exception) -> None:
        for live in self._running:
            live.ticket.fail(_model_failure(error))
        self._running.clear()


def _check_finite(job: DenoisingJob) -> None:
    """Check that a job's latents are numbers.

    Raises:
        InputError: they aren't, at a guidance that can do that.
        GenerationError: they aren't, and should be.
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
