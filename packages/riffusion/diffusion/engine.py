"""Continuous batching: one loop owns the model, and live jobs share its calls step by step.

    submit ─▶ waiting ─▶ prepare ─▶ line ─▶ a tick: one UNet call ─▶ decode ─▶ Ticket.picture
                                     ▲                │ not done yet
                                     └────────────────┘

The live jobs stand in a line. A tick takes the one in front and, from those behind it, all that
fit into the same UNet call: jobs of the same picture size, whatever their prompts, steps,
strengths, schedulers and guidance. Each goes one step further and then to the end of the line. So
a job joins at the next tick and leaves when it is done; and where one call can't hold all, each
still gets its turn as often as any other.
"""

import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

import torch
from PIL import Image

from riffusion.datatypes import InferenceInput
from riffusion.diffusion.job import DenoisingJob
from riffusion.diffusion.pipeline import ProgressCallback, RiffusionPipeline
from riffusion.errors import GenerationCancelled, GenerationError

logger = logging.getLogger(__name__)

MAX_ROWS = 16
"""Rows of one UNet call, where nothing else is said: eight guided jobs."""
MAX_LIVE = 16
"""Jobs in the line; more wait, so that memory is bounded and each gets on."""
_NEWEST_TICK = 0.2
"""Weight of the newest tick in the mean duration of a row."""


class Ticket:
    """One picture in the making, as the one who asked for it sees it.

    Attributes:
        picture: the future picture. Its exceptions are `GenerationCancelled` after `cancel`,
            `GenerationError` where the model failed on this job, and `InputError`.
        stages_s: seconds by stage, as far as it has come: `waiting`, `prepare`, `diffusion`,
            `decode`.
    """

    def __init__(
        self,
        inputs: InferenceInput,
        init_image: Image.Image | None = None,
        mask_image: Image.Image | None = None,
        on_progress: ProgressCallback | None = None,
    ) -> None:
        self.inputs, self.init_image, self.mask_image = inputs, init_image, mask_image
        self.on_progress = on_progress
        self.picture: Future[Image.Image] = Future()
        self.stages_s: dict[str, float] = {}
        self.cancellation: GenerationCancelled | None = None
        self._since = time.perf_counter()

    def cancel(self, reason: GenerationCancelled | None = None) -> None:
        """Nobody wants the picture any more; its place is free at the next tick.

        Args:
            reason: what `picture` raises then.
        """
        self.cancellation = self.cancellation or reason or GenerationCancelled("cancelled")

    def end_stage(self, name: str) -> None:
        """Note the time since the last stage as that of `name`."""
        now = time.perf_counter()
        self.stages_s[name] = now - self._since
        self._since = now

    @property
    def is_open(self) -> bool:
        """Whether it has neither a picture nor an error yet."""
        return not self.picture.done()

    def succeed(self, picture: Image.Image) -> None:
        """Hand the picture over."""
        self.picture.set_result(picture)

    def fail(self, error: Exception) -> None:
        """End without a picture."""
        self.picture.set_exception(error)


@dataclass(frozen=True)
class Tick:
    """What one turn of the loop did.

    Args:
        num_jobs: that shared the UNet call.
        num_rows: of the call; two for a guided job.
        seconds: it took.
        num_left: jobs in the line afterwards.
        num_waiting: jobs behind them.
    """

    num_jobs: int
    num_rows: int
    seconds: float
    num_left: int
    num_waiting: int


@dataclass(eq=False)
class _Live:
    """A job in the line, and whose it is."""

    job: DenoisingJob
    ticket: Ticket


@dataclass
class _Pace:
    """How long a row of a UNet call takes, a moving mean."""

    row_s: float = 0.0

    def note(self, num_rows: int, seconds: float) -> None:
        newest = seconds / num_rows
        self.row_s += (newest - self.row_s) * (_NEWEST_TICK if self.row_s else 1.0)


@dataclass
class Engine:
    """Runs any number of jobs on one pipeline. Threads submit; one thread of its own computes.

    Args:
        pipeline: the model. Nobody else may use it in the meantime.
        max_rows: of one UNet call.
        max_live: jobs that share the model's time; the others wait.
        on_tick: called after each tick, in the engine's thread.
    """

    pipeline: RiffusionPipeline
    max_rows: int = MAX_ROWS
    max_live: int = MAX_LIVE
    on_tick: Callable[[Tick], None] = lambda tick: None

    _inbox: "queue.SimpleQueue[Ticket | None]" = field(
        default_factory=queue.SimpleQueue, init=False
    )
    _waiting: deque[Ticket] = field(default_factory=deque, init=False)
    _line: deque[_Live] = field(default_factory=deque, init=False)
    _pace: _Pace = field(default_factory=_Pace, init=False)
    _is_closing: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._thread.start()

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
        """
        ticket = Ticket(inputs, init_image, mask_image, on_progress)
        self._inbox.put(ticket)
        return ticket

    def close(self) -> None:
        """Finish what was submitted, then end the thread."""
        self._inbox.put(None)
        self._thread.join()

    def seconds_until_a_place_is_free(self) -> float:
        """When the first live job is likely to be done, at the pace of the last ticks."""
        line = list(self._line)
        if not line:
            return 0.0
        num_rows = sum(live.job.num_rows for live in line)
        fewest_steps = min(live.job.steps_left for live in line)
        return fewest_steps * num_rows * self._pace.row_s  # a round of the line steps every job

    def _run(self) -> None:
        while self._collect():
            try:
                self._admit()
                if self._line:
                    self._tick()
            except Exception as error:  # a mistake in this module must not end the loop
                logger.exception("the engine failed; its live jobs are given up")
                for live in self._line:
                    if live.ticket.is_open:
                        live.ticket.fail(_model_failure(error))
                self._line.clear()

    def _collect(self) -> bool:
        """Read the inbox, waiting if there is nothing else to do; False at the end."""
        is_idle = not self._line and not self._waiting
        while not self._inbox.empty() or (is_idle and not self._is_closing):
            ticket = self._inbox.get()
            is_idle = False
            if ticket is None:
                self._is_closing = True
            else:
                self._waiting.append(ticket)
        return bool(self._line or self._waiting or not self._is_closing)

    def _admit(self) -> None:
        """Let jobs that wait join the line, first come first served."""
        self._drop_cancelled()
        while self._waiting and len(self._line) < self.max_live:
            ticket = self._waiting.popleft()
            ticket.end_stage("waiting")
            try:
                job = self.pipeline.prepare(ticket.inputs, ticket.init_image, ticket.mask_image)
            except Exception as error:
                ticket.fail(error)
                continue
            ticket.end_stage("prepare")
            live = _Live(job, ticket)
            if job.is_done:  # nothing is to be repainted
                self._decode([live])
            else:
                self._line.append(live)

    def _tick(self) -> None:
        """One UNet call for the front of the line and those that fit beside it."""
        batch = self._next_batch()
        num_rows = sum(live.job.num_rows for live in batch)
        started = time.perf_counter()
        self._advance(batch)
        seconds = time.perf_counter() - started
        self._pace.note(num_rows, seconds)

        self._decode([live for live in batch if live.ticket.is_open and live.job.is_done])
        passed_over = [live for live in self._line if live not in batch]
        self._line = deque(live for live in (*passed_over, *batch) if live.ticket.is_open)
        self.on_tick(Tick(len(batch), num_rows, seconds, len(self._line), len(self._waiting)))

    def _next_batch(self) -> list[_Live]:
        """The front of the line, with all that can share its call."""
        front = self._line[0]
        batch: list[_Live] = []
        room = max(self.max_rows, front.job.num_rows)
        for live in self._line:
            if live.job.shape == front.job.shape and live.job.num_rows <= room:
                batch.append(live)
                room -= live.job.num_rows
        return batch

    def _advance(self, batch: Sequence[_Live]) -> None:
        """Take a step with each. Where the call fails, halves of it are tried; alone, a job fails.

        The call comes before the first change to a job, so trying again is safe.
        """
        try:
            predictions = self.pipeline.predict([live.job for live in batch])
        except Exception as error:
            _free_memory(error)
            if len(batch) == 1:
                batch[0].ticket.fail(_model_failure(error))
                return
            logger.warning("a call for %d jobs failed, trying halves: %s", len(batch), error)
            self._advance(batch[: len(batch) // 2])
            self._advance(batch[len(batch) // 2 :])
            return
        for live, prediction in zip(batch, predictions, strict=True):
            try:
                live.job.advance(prediction)
                if live.ticket.on_progress is not None:
                    live.ticket.on_progress(live.job.steps_done, live.job.num_steps)
            except Exception as error:
                live.ticket.fail(error)

    def _decode(self, done: Sequence[_Live]) -> None:
        """Turn finished jobs into pictures, together; where that fails, one by one."""
        for live in done:
            live.ticket.end_stage("diffusion")
        self._decode_together([live for live in done if self._check_finite(live)])

    def _check_finite(self, live: _Live) -> bool:
        """Whether a job's latents are numbers; its ticket ends here if they aren't."""
        latents = live.job.latents
        is_finite = bool(torch.isfinite(latents).all())
        if not is_finite:
            live.ticket.fail(
                GenerationError(
                    f"the latents are not finite after {live.job.num_steps} steps in "
                    f"{latents.dtype}; lower guidance={live.job.guidance:g}"
                )
            )
        return is_finite

    def _decode_together(self, done: Sequence[_Live]) -> None:
        if not done:
            return
        try:
            pictures = self.pipeline.decode([live.job for live in done])
        except Exception as error:
            _free_memory(error)
            if len(done) == 1:
                done[0].ticket.fail(_model_failure(error))
                return
            for live in done:
                self._decode_together([live])
            return
        for live, picture in zip(done, pictures, strict=True):
            live.ticket.end_stage("decode")
            live.ticket.succeed(picture)

    def _drop_cancelled(self) -> None:
        for tickets in ([live.ticket for live in self._line], self._waiting):
            for ticket in list(tickets):
                if ticket.cancellation is not None:
                    ticket.fail(ticket.cancellation)
        self._line = deque(live for live in self._line if live.ticket.is_open)
        self._waiting = deque(ticket for ticket in self._waiting if ticket.is_open)


def _free_memory(error: Exception) -> None:
    """Give cached blocks back to the device after it ran out of memory."""
    if isinstance(error, torch.cuda.OutOfMemoryError):
        torch.cuda.empty_cache()


def _model_failure(error: Exception) -> GenerationError:
    failure = GenerationError(f"the model failed on this clip: {error}")
    failure.__cause__ = error
    return failure
