"""Continuous batching: one loop owns the model, and live jobs share its calls step by step.

    submit ─▶ waiting ─▶ prepare ─▶ line ─▶ a tick: one UNet call ─▶ decode ─▶ Ticket.picture
                                     ▲                │ not done yet
                                     └────────────────┘

The live jobs stand in a line. A tick takes the one in front and, from those behind it, all that
fit into the same UNet call: jobs of the same picture size, whatever their prompts, steps,
strengths, schedulers and guidance. Each goes one step further and then to the end of the line. So
a job joins at the next tick and leaves when it is done; and where one call can't hold all, each
still gets its turn as often as any other. Turns are counted, not their time: a long picture among
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
from riffusion.engine.request import Ticket
from riffusion.errors import GenerationError, InputError, RiffusionError

logger = logging.getLogger(__name__)

MAX_ROWS = 16
"""Rows of one UNet call, where nothing else is said: eight guided jobs."""
MAX_LIVE = 16
"""Jobs in the line; more wait, so that memory is bounded and each gets on."""
_USUAL_GUIDANCE = 10.0
"""Up to here, latents that aren't numbers are the model's fault and not the request's."""
_NEWEST_TICK = 0.2
"""Weight of the newest tick in the mean duration of a row."""

_Result = TypeVar("_Result")


@dataclass(frozen=True)
class Tick:
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
class _Live:
    """A job in the line, and whose it is."""

    job: DenoisingJob
    ticket: Ticket


class Engine:
    """Runs any number of jobs on one pipeline. Threads submit; one thread of its own computes.

    Args:
        pipeline: the model. Nobody else may use it in the meantime.
        max_rows: of one UNet call, for clips of the usual length; a row of a picture twice as
            long counts twice.
        max_live: jobs that share the model's time; the others wait.
        on_tick: called after each tick, in the engine's thread.
    """

    def __init__(
        self,
        pipeline: RiffusionPipeline,
        max_rows: int = MAX_ROWS,
        max_live: int = MAX_LIVE,
        on_tick: Callable[[Tick], None] = lambda tick: None,
    ) -> None:
        self.pipeline = pipeline
        self.max_rows = max_rows
        self.max_live = max_live
        self.on_tick = on_tick
        self._inbox: queue.SimpleQueue[Ticket | None] = queue.SimpleQueue()
        self._waiting: deque[Ticket] = deque()
        self._line: deque[_Live] = deque()
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
    ) -> Ticket:
        """Ask for a picture; see `RiffusionPipeline.prepare` for the arguments.

        Args:
            on_progress: called after each step with (steps done, steps in all), in the engine's
                thread.

        Raises:
            GenerationError: the engine is closed.
        """
        ticket = Ticket(inputs, init_image, mask_image, on_progress)
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
    def num_live(self) -> int:
        """Jobs that share the model's time."""
        return len(self._line)

    @property
    def num_waiting(self) -> int:
        """Jobs behind them."""
        return len(self._waiting) + self._inbox.qsize()

    def seconds_until_a_picture_is_done(self) -> float:
        """Of those in the line, at the pace of the last ticks."""
        jobs = [live.job for live in list(self._line) if not live.job.is_done]
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
        while not self._inbox.empty() or not (self._line or self._waiting):
            ticket = self._inbox.get()
            if ticket is None:  # the last entry, as nothing is submitted after closing
                self._inbox.put(None)
                return bool(self._line or self._waiting)
            self._waiting.append(ticket)
        return True

    def _drop_unwanted(self) -> None:
        """Free the places of jobs that were cancelled or have failed."""
        for ticket in (*(live.ticket for live in self._line), *self._waiting):
            if ticket.cancellation is not None:
                ticket.fail(ticket.cancellation)
        self._line = deque(live for live in self._line if live.ticket.is_wanted)
        self._waiting = deque(ticket for ticket in self._waiting if ticket.is_wanted)

    def _admit(self) -> None:
        """Let jobs that wait join the line, first come first served.

        Those in the line wait for that as long as for one more tick, and not longer.
        """
        until = time.perf_counter() + self._tick_s
        while self._waiting and len(self._line) < self.max_live:
            self._prepare(self._waiting.popleft())
            if self._line and time.perf_counter() > until:
                return

    def _prepare(self, ticket: Ticket) -> None:
        ticket.end_stage("waiting")
        try:
            job = self.pipeline.prepare(ticket.inputs, ticket.init_image, ticket.mask_image)
        except RiffusionError as error:
            ticket.fail(error)
        except Exception as error:
            ticket.fail(_model_failure(error))
        else:
            ticket.end_stage("prepare")
            self._line.append(_Live(job, ticket))

    def _tick(self) -> None:
        """One UNet call for the front of the line and those that fit beside it."""
        batch = self._next_batch()
        if batch:
            num_rows = sum(live.job.num_rows for live in batch)
            started = time.perf_counter()
            self._advance(batch)
            self._note(Tick(len(batch), num_rows, time.perf_counter() - started))
        self._decode([live for live in self._line if live.job.is_done and live.ticket.is_wanted])
        passed_over = [live for live in self._line if live not in batch]
        self._line = deque(
            live for live in (*passed_over, *batch) if not live.ticket.picture.done()
        )

    def _next_batch(self) -> list[_Live]:
        """The front of the line, with all that can share its call; none if all are done."""
        undone = [live for live in self._line if not live.job.is_done]
        if not undone:
            return []
        shape = undone[0].job.shape
        room = self.max_rows / self.pipeline.relative_length(shape)
        batch: list[_Live] = []
        for live in undone:
            if live.job.shape == shape and (live.job.num_rows <= room or not batch):
                batch.append(live)
                room -= live.job.num_rows
        return batch[: self._most_jobs.get(shape)]

    def _advance(self, batch: Sequence[_Live]) -> None:
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

    def _decode(self, done: Sequence[_Live]) -> None:
        """Turn finished jobs into pictures."""
        for live in done:
            live.ticket.end_stage("diffusion")
        for live, picture in self._in_parts(done, self._decode_finite):
            live.ticket.end_stage("decode")
            live.ticket.succeed(picture)

    def _decode_finite(self, jobs: Sequence[DenoisingJob]) -> list[Image.Image]:
        for job in jobs:
            _check_finite(job)
        return self.pipeline.decode(jobs)

    def _in_parts(
        self,
        batch: Sequence[_Live],
        work: Callable[[Sequence[DenoisingJob]], Sequence[_Result]],
    ) -> list[tuple[_Live, _Result]]:
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

    def _note(self, tick: Tick) -> None:
        """Keep the pace, and tell the observer."""
        self._tick_s = tick.seconds
        newest = tick.seconds / tick.num_rows
        self._row_s += (newest - self._row_s) * (_NEWEST_TICK if self._row_s else 1.0)
        try:
            self.on_tick(tick)
        except Exception:
            logger.exception("the engine's observer failed")

    def _give_up_line(self, error: Exception) -> None:
        for live in self._line:
            live.ticket.fail(_model_failure(error))
        self._line.clear()


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
