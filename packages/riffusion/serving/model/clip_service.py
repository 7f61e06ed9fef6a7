"""Runs the clips of many clients on one checkpoint.

    submit ─▶ resolve in a thread ─▶ acquire a slot ─▶ the engine makes the image ─▶ audio and
                InputError            OverloadedError   progress events               encoding in a
                                                            ▲                         thread: result
                                                            └─ not as promised, drawn again ─┘

A clip is made by a task of the service, not by the request. When the request ends early, its job is
cancelled, and its slot in the engine is free at the next step. Each request is one log line.
An edit of a recording takes the same way, with an `Edit` in place of an image, and so does a clip
of an unconditional checkpoint. What they do in each stage is `text_clips`' and
`unconditional_clips`'; here it is `work`.
"""

import asyncio
import contextvars
import os
import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from riffusion.audio.recording import Recording
from riffusion.datatypes import InferenceInput
from riffusion.editing.editor import OpenRecording
from riffusion.engine import Request
from riffusion.engine.engine import MAX_NUM_RUNNING
from riffusion.errors import (
    ClipMemoryError,
    DeadlineExceededError,
    GenerationCancelled,
    InputError,
    OverloadedError,
    StorageFullError,
)
from riffusion.generation.generator import ClipGenerator
from riffusion.runtime.freed_memory import return_freed_memory
from riffusion.runtime.memory import is_out_of_memory
from riffusion.runtime.processors import num_usable_cpus
from riffusion.serving.model import clip_log, metrics
from riffusion.serving.model.clip_job import (
    INTERNAL_ERROR,
    ClipJob,
    Event,
    Progress,
)
from riffusion.serving.model.concurrency_limiter import ConcurrencyLimiter
from riffusion.serving.model.memory_return import MemoryReturn
from riffusion.serving.model.storage import has_no_room, storage_failure
from riffusion.serving.model.text_clips import TextMaker
from riffusion.serving.model.work import FinishedJob, Maker, Work

if TYPE_CHECKING:
    from riffusion.generation.unconditional import UnconditionalGenerator

__all__ = [
    "DEFAULT_MAX_WAITING",
    "INTERNAL_ERROR",
    "LARGEST_MAX_WAITING",
    "MAX_FAILURES_IN_A_ROW",
    "MAX_MEMORY_FAILURES_IN_A_ROW",
    "ClipJob",
    "ClipService",
    "Event",
    "Progress",
    "max_running_from_environment",
    "max_waiting_from_environment",
]

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
_NEWEST_AUDIO_WEIGHT = 0.2
"""Weight of the newest clip in the moving average of the time from image to result."""


class ClipService:
    """Runs jobs on one checkpoint. Belongs to one event loop.

    Args:
        generator: makes the clips; whoever made it closes it.
        max_waiting: clips that may wait while all that can run at the same time do.
        open_recording: decodes the recordings that requests edit, or vary.

    Raises:
        CheckpointError: the checkpoint needs more than requests can have.
    """

    def __init__(
        self,
        generator: "ClipGenerator | UnconditionalGenerator",
        max_waiting: int = DEFAULT_MAX_WAITING,
        open_recording: OpenRecording = Recording.open,
    ) -> None:
        self._maker = _maker_of(generator, open_recording)
        self._limiter = ConcurrencyLimiter(
            self._maker.max_num_running, max_waiting, self._seconds_until_slot_is_free
        )
        self._audio_threads = ThreadPoolExecutor(_num_audio_threads(), thread_name_prefix="audio")
        self._resolve_threads = ThreadPoolExecutor(_NUM_RESOLVE_THREADS, "resolve")
        self._resolving: set[Future[Work]] = set()
        self._memory_return = MemoryReturn(self._audio_threads, self._is_busy)
        self._num_in_audio = 0
        self._mean_audio_s = 0.0
        self._num_failures = 0
        self._num_memory_failures = 0
        self._maker.show_metrics()

    @property
    def is_healthy(self) -> bool:
        """False after several unexpected failures in a row, for example if the GPU is lost.

        Also false if the thread that makes clips hangs or has died.
        """
        return (
            self._maker.is_healthy
            and self._num_failures < MAX_FAILURES_IN_A_ROW
            and self._num_memory_failures < MAX_MEMORY_FAILURES_IN_A_ROW
        )

    async def submit(self, inputs: InferenceInput) -> ClipJob:
        """Accept a request. Its ids, images and audio are read before it takes a slot.

        Raises:
            InputError: a field is not valid.
            OverloadedError: every slot is in use.
            DeadlineExceededError: reading the images and audio takes longer than `deadline_s`.
            StorageFullError: there is no room for temporary files.
        """
        job = ClipJob(inputs.num_inference_steps)
        submitted_s = job.loop.time()
        self._memory_return.request_came()
        try:
            self._limiter.check()  # before work that a refusal would waste
            context = contextvars.copy_context()  # it has the request's id, for the log
            resolved = self._resolve_threads.submit(context.run, self._maker.resolve, inputs)
            self._resolving.add(resolved)  # its thread goes on when the deadline has passed
            resolved.add_done_callback(self._resolving.discard)
            async with asyncio.timeout(inputs.deadline_s):
                work = await asyncio.wrap_future(resolved)
            self._limiter.check()
        except OverloadedError as error:
            metrics.record_refusal()
            _log_failure(job, inputs, error, job.loop.time() - submitted_s)
            raise
        except TimeoutError:
            exceeded = _deadline_exceeded(inputs)
            self._record_failure(job, inputs, exceeded, job.loop.time() - submitted_s)
            raise exceeded from None
        except Exception as error:
            if has_no_room(error):
                failure = storage_failure(error)
                self._record_failure(job, inputs, failure, job.loop.time() - submitted_s)
                raise failure from error
            _log_failure(job, inputs, error, job.loop.time() - submitted_s)  # Truss logs it, too
            raise
        job.trace.start_draw()
        try:
            job.handle = work.start(job.put_progress)
        except Exception as error:
            self._record_failure(job, inputs, error, job.loop.time() - submitted_s)
            raise
        self._limiter.acquire()
        job.task = asyncio.create_task(self._run(job, inputs, work))
        job.task.add_done_callback(lambda _: self._limiter.release())
        if work.takes_much_memory:
            job.task.add_done_callback(lambda _: self._audio_threads.submit(return_freed_memory))
        if inputs.deadline_s is not None:
            end_s = submitted_s + inputs.deadline_s
            timer = job.loop.call_at(end_s, job.stop, _deadline_exceeded(inputs))
            job.task.add_done_callback(lambda _: timer.cancel())
        return job

    def _is_busy(self) -> bool:
        return bool(self._limiter.num_acquired or self._resolving)

    def _seconds_until_slot_is_free(self) -> float:
        """A slot is free when the audio of a clip is done, which follows its image."""
        image_s = self._maker.seconds_until_a_clip_is_done()
        return (0.0 if self._num_in_audio else image_s) + self._mean_audio_s

    async def _run(self, job: ClipJob, inputs: InferenceInput, work: Work) -> None:
        started = time.monotonic()
        try:
            output, timings_s = await self._finished(job, work)
        except Exception as error:
            failure = storage_failure(error) if has_no_room(error) else error
            self._record_failure(job, inputs, failure, time.monotonic() - started)
            job.put(failure)
        else:
            self._num_failures = self._num_memory_failures = 0
            metrics.record_clip(output.duration_s, timings_s)
            job.timings_s = timings_s
            job.put(output)
            clip_log.log_done(inputs, output, timings_s, time.monotonic() - started)
            job.trace.end(inputs, "done", timings_s, job.steps_done)

    async def _finished(self, job: ClipJob, work: Work) -> FinishedJob:
        """Wait until the edit, or the clip's last draw, is done."""
        while True:
            request: Request[Any] = job.handle
            await asyncio.wrap_future(request.outcome)
            finished = await self._make_audio(job, work)
            if finished is not None:
                return finished
            job.trace.start_draw()
            job.handle = work.start(job.put_progress)

    async def _make_audio(self, job: ClipJob, work: Work) -> FinishedJob | None:
        """Turn the image into audio and encode both, on a thread; None if it is drawn again.

        Raises:
            GenerationCancelled: the job was stopped.
        """
        started = time.monotonic()
        self._num_in_audio += 1
        try:
            job.audio = self._audio_threads.submit(_finish, job, work)
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

    def _record_failure(
        self, job: ClipJob, inputs: InferenceInput, error: Exception, total_s: float
    ) -> None:
        metrics.record_failure(error)
        _log_failure(job, inputs, error, total_s)
        if isinstance(error, (GenerationCancelled, InputError, ClipMemoryError, StorageFullError)):
            pass  # the request's fault, or the disk's
        elif is_out_of_memory(error):
            self._num_memory_failures += 1
        else:
            self._num_failures += 1


def _maker_of(
    generator: "ClipGenerator | UnconditionalGenerator", open_recording: OpenRecording
) -> Maker:
    """The maker for the kind of checkpoint."""
    if isinstance(generator, ClipGenerator):
        return TextMaker(generator, open_recording)
    from riffusion.serving.model.unconditional_clips import UnconditionalMaker  # needs PyTorch

    return UnconditionalMaker(generator, open_recording)


def _log_failure(job: ClipJob, inputs: InferenceInput, error: Exception, total_s: float) -> None:
    """Log a request that has failed, and end its spans."""
    clip_log.log_failure(inputs, error, total_s)
    stages_s = job.handle.stages_s if hasattr(job, "handle") else {}
    job.trace.end(inputs, clip_log.outcome_of(error), stages_s, job.steps_done)


def _deadline_exceeded(inputs: InferenceInput) -> DeadlineExceededError:
    return DeadlineExceededError(f"not done within deadline_s={inputs.deadline_s:g}")


def _finish(job: ClipJob, work: Work) -> FinishedJob | None:
    job.handle.end_stage("sound_queue")
    return work.finish(job.handle)


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
