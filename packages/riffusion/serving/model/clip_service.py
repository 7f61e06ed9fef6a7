"""Runs the clips of many clients on one `ClipGenerator`.

    submit ─▶ resolve in a thread ─▶ acquire a slot ─▶ the engine makes the image ─▶ audio and
                InputError            OverloadedError   progress events               encoding in a
                                                                                      thread: result

A clip is made by a task of the service, not by the request. When the request ends early, its job is
cancelled, and its slot in the engine is free at the next step. Each finished clip is one log line.
"""

import asyncio
import contextvars
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
    ClipMemoryError,
    DeadlineExceededError,
    GenerationCancelled,
    GenerationError,
    InputError,
    OverloadedError,
)
from riffusion.generation.generator import Clip, ClipGenerator, ResolvedInput
from riffusion.generation.response import output_from_clip
from riffusion.runtime.devices import return_freed_memory
from riffusion.runtime.memory import is_out_of_memory
from riffusion.runtime.processors import num_usable_cpus
from riffusion.serving.model import metrics
from riffusion.serving.model.concurrency_limiter import ConcurrencyLimiter

logger = logging.getLogger(__name__)

DEFAULT_MAX_WAITING = 8
"""Clips that may wait, if `RIFFUSION_MAX_WAITING` is not set in the environment."""
LARGEST_MAX_WAITING = 30
"""Together with the running clips this stays below `predict_concurrency` in config.yaml, so that
Truss always passes a request on to the code that refuses it."""
MAX_FAILURES_IN_A_ROW = 3
"""After this number of unexpected failures without a success, the service is unhealthy."""
MAX_MEMORY_FAILURES_IN_A_ROW = 32
"""The same for clips of the usual length that memory ran out for. It is higher, since one client's
requests can cause some, and a restart helps only if the process itself has lost the memory."""
_NUM_RESOLVE_THREADS = 48
"""As `predict_concurrency` in config.yaml, so that a request whose image is large, and waits for
its turn to be decoded, never keeps another one waiting."""
INTERNAL_ERROR = "the clip could not be made; the server's log has the reason"
_MANY_FRAMES = 2000
"""The memory of clips with more frames is returned to the system. It grows with their number."""
_POLL_S = 0.5
_HEARTBEAT_S = 5.0
"""Interval at which a stream repeats its progress, so that clients know that it is alive."""
_NEWEST_AUDIO_WEIGHT = 0.2
"""Weight of the newest clip in the moving average of the time from image to result."""

Progress = tuple[int, int]
"""Steps done, and total number of steps."""
Event = Progress | InferenceOutput | Exception


class ClipJob:
    """One clip in progress. Its events can be read once, by `result` or by `ndjson`.

    Args:
        num_steps: number of steps in the request; the scheduler's own number is known after the
            first step.

    Attributes:
        handle: the engine's request for the image.
        audio: future of the audio and its encoding; None until the image is done.
        task: makes the clip; when it ends, the job's slot is free.
        timings_s: duration of each stage of the finished clip, in seconds.
    """

    handle: RequestHandle
    audio: Future[tuple[Clip, InferenceOutput]] | None = None
    task: asyncio.Task[None]
    timings_s: Mapping[str, float] = MappingProxyType({})

    def __init__(self, num_steps: int) -> None:
        self._progress: Progress = (0, num_steps)
        self._events: asyncio.Queue[Event] = asyncio.Queue()
        self.loop = asyncio.get_running_loop()

    def put(self, event: Event) -> None:
        """Add an event, on the event loop's thread. The last event is a result or an exception."""
        self._events.put_nowait(event)

    def put_progress(self, step: int, num_steps: int) -> None:
        """Add progress, from any thread."""
        self.loop.call_soon_threadsafe(self.put, (step, num_steps))

    def stop(self, reason: GenerationCancelled | None = None) -> None:
        """Cancel the clip; the engine frees its slot at the next step.

        Args:
            reason: the exception that the job ends with; default: the client left.
        """
        self.handle.cancel(reason or GenerationCancelled("the client left"))
        if self.audio is not None:
            self.audio.cancel()  # no effect once a thread has started it

    async def result(self, is_client_gone: Callable[[], bool]) -> InferenceOutput:
        """Wait for the clip and ignore its progress.

        Raises:
            GenerationCancelled: `is_client_gone` returned True, and the job was stopped.
            InputError: the model found that the request is invalid.
            Exception: any other failure of the clip.
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

        While nothing happens, in the queue or while the audio is made, the last progress is
        repeated every 5 s.
        """
        try:
            while isinstance(event := await self._next_event(_HEARTBEAT_S), tuple):
                self._progress = event
                yield _line("progress", step=event[0], steps=event[1])
            if isinstance(event, InferenceOutput):
                yield _line("result", **event.model_dump())
            elif isinstance(event, (InputError, GenerationCancelled)):
                yield _line("error", error=str(event))
            else:
                logger.error("a streamed clip failed", exc_info=event)
                yield _line("error", error=INTERNAL_ERROR)
        finally:
            self.stop()

    async def _next_event(self, timeout_s: float) -> Event:
        """The next event; after `timeout_s` without one, the progress so far."""
        try:
            return await asyncio.wait_for(self._events.get(), timeout_s)
        except TimeoutError:
            if self.task.done() and self._events.empty():
                return GenerationError("the task that makes the clip ended without a result")
            return self._progress


class ClipService:
    """Runs jobs on one `ClipGenerator`. Belongs to one event loop.

    Args:
        generator: makes the clips; whoever made it closes it.
        max_waiting: clips that may wait while the engine's slots are in use.
    """

    def __init__(self, generator: ClipGenerator, max_waiting: int = DEFAULT_MAX_WAITING) -> None:
        engine = generator.engine
        self._generator = generator
        self._limiter = ConcurrencyLimiter(
            engine.max_num_running, max_waiting, self._seconds_until_slot_is_free
        )
        self._audio_threads = ThreadPoolExecutor(_num_audio_threads(), thread_name_prefix="audio")
        self._resolve_threads = ThreadPoolExecutor(_NUM_RESOLVE_THREADS, "resolve")
        self._num_in_audio = 0
        self._mean_audio_s = 0.0
        self._num_failures = 0
        self._num_memory_failures = 0
        metrics.watch_engine(engine)
        pipeline = generator.pipeline
        metrics.watch_graphs(pipeline.unet_graphs)
        metrics.watch_cache("embeddings", pipeline.embedding_cache)
        metrics.watch_cache("latents", pipeline.latent_cache)
        metrics.watch_cache("masks", pipeline.mask_cache)

    @property
    def is_healthy(self) -> bool:
        """False after several unexpected failures in a row, for example if the GPU is lost.

        Also false if the engine's thread hangs or has died.
        """
        return (
            self._generator.engine.is_healthy
            and self._num_failures < MAX_FAILURES_IN_A_ROW
            and self._num_memory_failures < MAX_MEMORY_FAILURES_IN_A_ROW
        )

    async def submit(self, inputs: InferenceInput) -> ClipJob:
        """Accept a request. Its ids, images and audio are read before it takes a slot.

        Raises:
            InputError: a field is not valid.
            OverloadedError: every slot is in use.
            DeadlineExceededError: reading the images and audio takes longer than `deadline_s`.
        """
        job = ClipJob(inputs.num_inference_steps)
        submitted_s = job.loop.time()
        try:
            self._limiter.check()  # before work that a refusal would waste
            context = contextvars.copy_context()  # it has the request's id, for the log
            async with asyncio.timeout(inputs.deadline_s):
                resolved = await job.loop.run_in_executor(
                    self._resolve_threads, context.run, self._generator.resolve, inputs
                )
            self._limiter.check()
        except OverloadedError:
            metrics.record_refusal()
            raise
        except TimeoutError:
            exceeded = _deadline_exceeded(inputs)
            self._record_failure(exceeded)
            raise exceeded from None
        try:
            job.handle = self._generator.start(resolved, job.put_progress)
        except Exception as error:
            self._record_failure(error)
            raise
        self._limiter.acquire()
        job.task = asyncio.create_task(self._run(job, resolved))
        job.task.add_done_callback(lambda _: self._limiter.release())
        if _takes_much_memory(resolved):
            job.task.add_done_callback(lambda _: self._audio_threads.submit(return_freed_memory))
        if inputs.deadline_s is not None:
            end_s = submitted_s + inputs.deadline_s
            timer = job.loop.call_at(end_s, job.stop, _deadline_exceeded(inputs))
            job.task.add_done_callback(lambda _: timer.cancel())
        return job

    def _seconds_until_slot_is_free(self) -> float:
        """A slot is free when the audio of a clip is done, which follows its image."""
        image_s = self._generator.engine.seconds_until_an_image_is_done()
        return (0.0 if self._num_in_audio else image_s) + self._mean_audio_s

    async def _run(self, job: ClipJob, resolved: ResolvedInput) -> None:
        started = time.monotonic()
        try:
            await asyncio.wrap_future(job.handle.image)
            clip, output = await self._make_audio(job, resolved)
        except Exception as error:
            self._record_failure(error)
            job.put(error)
        else:
            self._num_failures = self._num_memory_failures = 0
            metrics.record_clip(clip)
            job.timings_s = clip.timings_s
            job.put(output)
            _log_clip(resolved.inputs, clip, time.monotonic() - started)

    async def _make_audio(
        self, job: ClipJob, resolved: ResolvedInput
    ) -> tuple[Clip, InferenceOutput]:
        """Turn the image into audio and encode both, on a thread.

        Raises:
            GenerationCancelled: the job was stopped.
        """
        started = time.monotonic()
        self._num_in_audio += 1
        try:
            job.audio = self._audio_threads.submit(self._finish, job, resolved)
            result = await asyncio.wrap_future(job.audio)
        except asyncio.CancelledError:
            if job.handle.cancellation is None:
                raise
        finally:
            self._num_in_audio -= 1
        if job.handle.cancellation is not None:
            raise job.handle.cancellation
        newest_s = time.monotonic() - started
        weight = _NEWEST_AUDIO_WEIGHT if self._mean_audio_s else 1.0
        self._mean_audio_s += weight * (newest_s - self._mean_audio_s)
        return result

    def _finish(self, job: ClipJob, resolved: ResolvedInput) -> tuple[Clip, InferenceOutput]:
        job.handle.end_stage("sound_queue")
        clip = self._generator.finish(resolved, job.handle)
        return clip, output_from_clip(clip, resolved.inputs)

    def _record_failure(self, error: Exception) -> None:
        metrics.record_failure(error)
        if isinstance(error, GenerationCancelled):
            logger.info("clip stopped: %s", error)
        elif isinstance(error, (InputError, ClipMemoryError)):
            pass  # the request's fault
        elif is_out_of_memory(error):
            self._num_memory_failures += 1
        else:
            self._num_failures += 1


def _deadline_exceeded(inputs: InferenceInput) -> DeadlineExceededError:
    return DeadlineExceededError(f"not done within deadline_s={inputs.deadline_s:g}")


def _takes_much_memory(resolved: ResolvedInput) -> bool:
    image = resolved.init_image
    num_frames = image.width if image is not None else (resolved.inputs.duration_s or 0) * 100
    return resolved.encoded_image is not None or num_frames > _MANY_FRAMES


def _num_audio_threads() -> int:
    """Clips whose audio is made at the same time: half the CPUs, the engine needs the others."""
    return max(1, num_usable_cpus() // 2)


def max_waiting_from_environment() -> int:
    """Number of clips that may wait.

    Raises:
        InputError: `RIFFUSION_MAX_WAITING` is not a number, or out of range.
    """
    return _from_environment("RIFFUSION_MAX_WAITING", DEFAULT_MAX_WAITING, 0, LARGEST_MAX_WAITING)


def max_running_from_environment() -> int:
    """Number of clips that share the model's steps; 1 turns batching off.

    Raises:
        InputError: `RIFFUSION_MAX_LIVE` is not a number, or out of range.
    """
    return _from_environment("RIFFUSION_MAX_LIVE", MAX_NUM_RUNNING, 1, MAX_NUM_RUNNING)


def _from_environment(name: str, default: int, lowest: int, highest: int) -> int:
    text = os.environ.get(name, str(default))
    if not text.isdecimal() or not lowest <= int(text) <= highest:
        raise InputError(f"{name}={text!r} must be a whole number from {lowest} to {highest}")
    return int(text)


def _line(event: str, **values: object) -> bytes:
    return json.dumps({"event": event, **values}).encode() + b"\n"


def _log_clip(inputs: InferenceInput, clip: Clip, total_s: float) -> None:
    """Log one line per clip, without the text of the prompts, which is private."""
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
