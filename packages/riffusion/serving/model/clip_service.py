"""Many callers, one `ClipGenerator`: admission, progress events, stopping, and a log line a clip.

    submit ─▶ resolve in a thread ─▶ a place ─▶ the engine draws ─▶ sound and encoding in a thread
                InputError            OverloadedError  progress events                result event

Work belongs to a task of the service, not to the request that asked for it. A request that goes
away stops its job, and the engine has its place free at the next step.
"""

import asyncio
import json
import logging
import os
import time
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from types import MappingProxyType

from riffusion.datatypes import InferenceInput, InferenceOutput
from riffusion.engine.engine import MAX_NUM_RUNNING
from riffusion.engine.request import RequestHandle
from riffusion.errors import (
    DeadlineExceededError,
    GenerationCancelled,
    GenerationError,
    InputError,
    OverloadedError,
)
from riffusion.generation.generator import Clip, ClipGenerator, ResolvedInput
from riffusion.generation.response import output_from_clip
from riffusion.serving.model import metrics
from riffusion.serving.model.concurrency_limiter import ConcurrencyLimiter

logger = logging.getLogger(__name__)

DEFAULT_MAX_WAITING = 8
"""Clips that may wait, where the environment's `RIFFUSION_MAX_WAITING` doesn't say."""
LARGEST_MAX_WAITING = 30
"""With those that run still fewer than `predict_concurrency` in config.yaml, so that Truss always
lets a request in far enough to be refused."""
MAX_FAILURES_IN_A_ROW = 3
"""After as many unexpected failures without a success, the service calls itself unhealthy."""
INTERNAL_ERROR = "the clip could not be made; the server's log has the reason"
_POLL_S = 0.5
_HEARTBEAT_S = 5.0
"""After so long a silence a stream tells its progress again: clients know then that it lives."""
_NEWEST_SOUND = 0.2
"""Weight of the newest clip in the mean time from its image to its end."""

Progress = tuple[int, int]
"""Steps done, steps altogether."""
Event = Progress | InferenceOutput | Exception


class ClipJob:
    """One clip in the making. Read it once, by `result` or by `ndjson`.

    Args:
        num_steps: asked for; how many there will be is known when the first of them is done.

    Attributes:
        drawing: its image in the making.
        sound: its sound in the making, once the image is there.
        task: makes the clip, and ends when its place is free again.
        timings_s: of the finished clip, by stage.
    """

    drawing: RequestHandle
    sound: Future[tuple[Clip, InferenceOutput]] | None = None
    task: asyncio.Task[None]
    timings_s: Mapping[str, float] = MappingProxyType({})

    def __init__(self, num_steps: int) -> None:
        self._progress: Progress = (0, num_steps)
        self._events: asyncio.Queue[Event] = asyncio.Queue()
        self.loop = asyncio.get_running_loop()

    def put(self, event: Event) -> None:
        """Add an event; on the event loop's thread. The last one is no `Progress`."""
        self._events.put_nowait(event)

    def put_progress(self, step: int, num_steps: int) -> None:
        """Add progress, from any thread."""
        self.loop.call_soon_threadsafe(self.put, (step, num_steps))

    def stop(self, reason: GenerationCancelled | None = None) -> None:
        """Nobody wants the clip any more: the engine has its place free at the next step.

        Args:
            reason: by default, that the client left.
        """
        self.drawing.cancel(reason or GenerationCancelled("the client left"))
        if self.sound is not None:
            self.sound.cancel()  # unless it has begun

    async def result(self, is_client_gone: Callable[[], bool]) -> InferenceOutput:
        """The clip, with the progress passed over.

        Raises:
            GenerationCancelled: `is_client_gone` said so, and the job was stopped.
            InputError: the request turned out to be invalid while the model worked on it.
            Exception: whatever else went wrong.
        """
        try:
            while not is_client_gone():
                event = await self._next_event(_POLL_S)
                if isinstance(event, Exception):
                    raise event
                if isinstance(event, InferenceOutput):
                    return event
            raise GenerationCancelled("the client left")
        finally:
            self.stop()

    async def ndjson(self) -> AsyncIterator[bytes]:
        """Lines of JSON: progress, then the result or an error. Closing it early stops the job.

        While nothing happens, in the queue or while the sound is made, progress is told again.
        """
        try:
            while isinstance(event := await self._next_event(_HEARTBEAT_S), tuple):
                self._progress = event
                yield _running("progress", step=event[0], steps=event[1])
            if isinstance(event, InferenceOutput):
                yield _running("result", **event.model_dump())
            elif isinstance(event, (InputError, GenerationCancelled)):
                yield _running("error", error=str(event))
            else:
                logger.error("a streamed clip failed", exc_info=event)
                yield _running("error", error=INTERNAL_ERROR)
        finally:
            self.stop()

    async def _next_event(self, patience_s: float) -> Event:
        """The next event, or the progress so far if there is none for so long."""
        try:
            return await asyncio.wait_for(self._events.get(), patience_s)
        except TimeoutError:
            if self.task.done() and self._events.empty():
                return GenerationError("the clip's making was given up")
            return self._progress


class ClipService:
    """Runs jobs on one `ClipGenerator`. Belongs to one event loop.

    Args:
        generator: its engine draws; it is closed by whoever made it.
        max_waiting: clips that may wait behind those that share the engine.
    """

    def __init__(self, generator: ClipGenerator, max_waiting: int = DEFAULT_MAX_WAITING) -> None:
        engine = generator.engine
        self._generator = generator
        self._gate = ConcurrencyLimiter(
            engine.max_num_running, max_waiting, self._seconds_until_a_place_is_free
        )
        self._sound_threads = ThreadPoolExecutor(_num_sound_threads(), thread_name_prefix="sound")
        self._num_sounding = 0
        self._sound_s = 0.0
        self._num_failures = 0
        metrics.watch_engine(engine)
        pipeline = generator.pipeline
        metrics.watch_cache("embeddings", pipeline.embedding_cache)
        metrics.watch_cache("latents", pipeline.latent_cache)
        metrics.watch_cache("masks", pipeline.mask_cache)

    @property
    def is_healthy(self) -> bool:
        """False after several unexpected failures in a row, as when the GPU is lost."""
        return self._num_failures < MAX_FAILURES_IN_A_ROW

    async def submit(self, inputs: InferenceInput) -> ClipJob:
        """Accept a request. Its ids, images and sounds are read before it takes a place.

        Raises:
            InputError: a field that the model cannot work with.
            OverloadedError: too much is waiting.
        """
        job = ClipJob(inputs.num_inference_steps)
        asked_at_s = job.loop.time()
        try:
            self._gate.check()  # before work that would be for nothing
            resolved = await asyncio.to_thread(self._generator.resolve, inputs)
            self._gate.check()
        except OverloadedError:
            metrics.note_refusal()
            raise
        job.drawing = self._generator.start(resolved, job.put_progress)
        self._gate.acquire()
        job.task = asyncio.create_task(self._run(job, resolved))
        job.task.add_done_callback(lambda _: self._gate.release())
        if inputs.deadline_s is not None:
            exceeded = DeadlineExceededError(f"not done within deadline_s={inputs.deadline_s:g}")
            timer = job.loop.call_at(asked_at_s + inputs.deadline_s, job.stop, exceeded)
            job.task.add_done_callback(lambda _: timer.cancel())
        return job

    def _seconds_until_a_place_is_free(self) -> float:
        """A place is free when a clip's sound is done, after its image."""
        image_s = self._generator.engine.seconds_until_an_image_is_done()
        return (0.0 if self._num_sounding else image_s) + self._sound_s

    async def _run(self, job: ClipJob, resolved: ResolvedInput) -> None:
        started = time.monotonic()
        try:
            await asyncio.wrap_future(job.drawing.image)
            clip, output = await self._make_sound(job, resolved)
        except Exception as error:
            self._note_failure(job, error)
            job.put(error)
        else:
            self._num_failures = 0
            metrics.note_clip(clip)
            job.timings_s = clip.timings_s
            job.put(output)
            _log_clip(resolved.inputs, clip, time.monotonic() - started)

    async def _make_sound(
        self, job: ClipJob, resolved: ResolvedInput
    ) -> tuple[Clip, InferenceOutput]:
        """Sound and encoding of a drawn clip, in one of the threads for that.

        Raises:
            GenerationCancelled: nobody wants it any more.
        """
        started = time.monotonic()
        self._num_sounding += 1
        try:
            job.sound = self._sound_threads.submit(self._finish, job, resolved)
            made = await asyncio.wrap_future(job.sound)
        except asyncio.CancelledError:
            if job.drawing.cancellation is None:
                raise
        finally:
            self._num_sounding -= 1
        if job.drawing.cancellation is not None:
            raise job.drawing.cancellation
        newest_s = time.monotonic() - started
        self._sound_s += (newest_s - self._sound_s) * (_NEWEST_SOUND if self._sound_s else 1.0)
        return made

    def _finish(self, job: ClipJob, resolved: ResolvedInput) -> tuple[Clip, InferenceOutput]:
        job.drawing.end_stage("sound_queue")
        clip = self._generator.finish(resolved, job.drawing)
        return clip, output_from_clip(clip, resolved.inputs)

    def _note_failure(self, job: ClipJob, error: Exception) -> None:
        metrics.note_failure(error)
        if isinstance(error, GenerationCancelled):
            logger.info("clip stopped: %s", error)
        elif not isinstance(error, InputError):
            self._num_failures += 1


def _num_sound_threads() -> int:
    """Clips whose sound is made at once, beside the engine: on half the cores."""
    return max(1, (os.cpu_count() or 1) // 2)


def max_waiting_from_environment() -> int:
    """How many clips may wait.

    Raises:
        InputError: `RIFFUSION_MAX_WAITING` is no number, or out of range.
    """
    return _from_environment("RIFFUSION_MAX_WAITING", DEFAULT_MAX_WAITING, 0, LARGEST_MAX_WAITING)


def max_live_from_environment() -> int:
    """How many clips may share the model's time; 1 turns batching off.

    Raises:
        InputError: `RIFFUSION_MAX_LIVE` is no number, or out of range.
    """
    return _from_environment("RIFFUSION_MAX_LIVE", MAX_NUM_RUNNING, 1, MAX_NUM_RUNNING)


def _from_environment(name: str, default: int, lowest: int, highest: int) -> int:
    text = os.environ.get(name, str(default))
    if not text.isdecimal() or not lowest <= int(text) <= highest:
        raise InputError(f"{name}={text!r} must be a whole number from {lowest} to {highest}")
    return int(text)


def _running(event: str, **values: object) -> bytes:
    return json.dumps({"event": event, **values}).encode() + b"\n"


def _log_clip(inputs: InferenceInput, clip: Clip, total_s: float) -> None:
    """One line, without the prompts' text, which is the user's business."""
    start, end = inputs.start, inputs.end
    stages = " ".join(f"{stage}={seconds:.2f}" for stage, seconds in clip.timings_s.items())
    logger.info(
        "clip mode=%s seeds=%d,%d alpha=%g prompt_characters=%d,%d steps=%d total_s=%.2f %s",
        inputs.mode,
        start.seed,
        end.seed,
        inputs.alpha,
        len(start.prompt),
        len(end.prompt),
        inputs.num_inference_steps,
        total_s,
        stages,
    )
