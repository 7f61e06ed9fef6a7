"""Many callers, one `ClipGenerator`: admission, progress events, stopping, and a log line a clip.

    submit ─▶ resolve in a thread ─▶ a place ─▶ a turn ─▶ generate in a thread ─▶ encode in a thread
                InputError            OverloadedError      progress events          result event

Work belongs to a task of the service, not to the request that asked for it. A request that goes
away stops its job; its turn passes on only when the model has really let go.
"""

import asyncio
import json
import logging
import os
import threading
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from riffusion.clip_encoding import output_from_clip
from riffusion.clip_generator import Clip, ClipGenerator, ResolvedInput
from riffusion.datatypes import InferenceInput, InferenceOutput
from riffusion.errors import GenerationCancelled, InputError
from riffusion.serving.admission import AdmissionGate

logger = logging.getLogger(__name__)

MAX_RUNNING = 1
"""Clips that the model works on at once."""
DEFAULT_MAX_WAITING = 8
"""Clips that may wait, where the environment's `RIFFUSION_MAX_WAITING` doesn't say."""
LARGEST_MAX_WAITING = 30
"""With those that run still fewer than `predict_concurrency` in config.yaml, so that Truss always
lets a request in far enough to be refused."""
USUAL_CLIP_S = 5.0
"""Guess of a clip's duration before the first: 50 steps on an A10G."""
MAX_FAILURES_IN_A_ROW = 3
"""After as many unexpected failures without a success, the service calls itself unhealthy."""
INTERNAL_ERROR = "the clip could not be made; the server's log has the reason"
_POLL_S = 0.5

Progress = tuple[int, int]
"""Steps done, steps altogether."""
Event = Progress | InferenceOutput | Exception


class ClipJob:
    """One clip in the making. Read it once, by `result` or by `ndjson`."""

    def __init__(self) -> None:
        self.stopping = threading.Event()
        self.task: asyncio.Task[None] | None = None
        self.has_turn = False
        self._events: asyncio.Queue[Event] = asyncio.Queue()

    def put(self, event: Event) -> None:
        """Add an event; on the event loop's thread. The last one is no `Progress`."""
        self._events.put_nowait(event)

    def stop(self) -> None:
        """Nobody wants the clip any more: leave the queue, or stop the model at its next step."""
        self.stopping.set()
        if self.task is not None and not self.has_turn:
            self.task.cancel()

    async def result(self, is_client_gone: Callable[[], bool]) -> InferenceOutput:
        """The clip, with the progress passed over.

        Raises:
            GenerationCancelled: `is_client_gone` said so, and the job was stopped.
            InputError: the request turned out to be invalid while the model worked on it.
            Exception: whatever else went wrong.
        """
        try:
            while not is_client_gone():
                try:
                    event = await asyncio.wait_for(self._events.get(), _POLL_S)
                except TimeoutError:
                    continue
                if isinstance(event, Exception):
                    raise event
                if isinstance(event, InferenceOutput):
                    return event
            raise GenerationCancelled("the client left")
        finally:
            self.stop()

    async def ndjson(self) -> AsyncIterator[bytes]:
        """Lines of JSON: progress, then the result or an error. Closing it early stops the job."""
        try:
            while isinstance(event := await self._events.get(), tuple):
                yield _line("progress", step=event[0], steps=event[1])
            if isinstance(event, InferenceOutput):
                yield _line("result", **event.model_dump())
            elif isinstance(event, InputError):
                yield _line("error", error=str(event))
            else:
                logger.error("a streamed clip failed", exc_info=event)
                yield _line("error", error=INTERNAL_ERROR)
        finally:
            self.stop()


class ClipService:
    """Runs jobs on one `ClipGenerator`. Belongs to one event loop."""

    def __init__(
        self,
        generator: ClipGenerator,
        max_running: int = MAX_RUNNING,
        max_waiting: int = DEFAULT_MAX_WAITING,
    ) -> None:
        self._generator = generator
        self._gate = AdmissionGate(max_running, max_waiting, USUAL_CLIP_S)
        self._model_threads = ThreadPoolExecutor(max_running, thread_name_prefix="model")
        self._num_failures = 0

    @property
    def is_healthy(self) -> bool:
        """False after several unexpected failures in a row, as when the GPU is lost."""
        return self._num_failures < MAX_FAILURES_IN_A_ROW

    async def submit(self, inputs: InferenceInput) -> ClipJob:
        """Accept a request. Its ids, pictures and sounds are read before it takes a place.

        Raises:
            InputError: a field that the model cannot work with.
            OverloadedError: too much is waiting.
        """
        self._gate.check()
        resolved = await asyncio.to_thread(self._generator.resolve, inputs)
        self._gate.take_place()
        job = ClipJob()
        job.task = asyncio.create_task(self._run(job, inputs, resolved))
        job.task.add_done_callback(lambda _: self._gate.leave_place())
        return job

    async def _run(self, job: ClipJob, inputs: InferenceInput, resolved: ResolvedInput) -> None:
        started = time.monotonic()
        loop = asyncio.get_running_loop()

        def on_progress(step: int, num_steps: int) -> None:
            loop.call_soon_threadsafe(job.put, (step, num_steps))

        try:
            async with self._gate.running():
                job.has_turn = True
                waited_s = time.monotonic() - started
                clip = await loop.run_in_executor(
                    self._model_threads,
                    partial(
                        self._generator.generate,
                        resolved,
                        on_progress=on_progress,
                        should_stop=job.stopping.is_set,
                    ),
                )
            output = await asyncio.to_thread(output_from_clip, clip, inputs)
        except Exception as error:
            self._note_failure(job, error)
            job.put(error)
        else:
            self._num_failures = 0
            job.put(output)
            _log_clip(inputs, clip, waited_s, time.monotonic() - started)

    def _note_failure(self, job: ClipJob, error: Exception) -> None:
        if job.stopping.is_set():
            logger.info("clip stopped: the client left")
        elif not isinstance(error, InputError):
            self._num_failures += 1


def max_waiting_from_environment() -> int:
    """How many clips may wait.

    Raises:
        InputError: `RIFFUSION_MAX_WAITING` is no number, or out of range.
    """
    text = os.environ.get("RIFFUSION_MAX_WAITING", str(DEFAULT_MAX_WAITING))
    if not text.isdecimal() or int(text) > LARGEST_MAX_WAITING:
        raise InputError(
            f"RIFFUSION_MAX_WAITING={text!r} must be a whole number from 0 to {LARGEST_MAX_WAITING}"
        )
    return int(text)


def _line(event: str, **values: object) -> bytes:
    return json.dumps({"event": event, **values}).encode() + b"\n"


def _log_clip(inputs: InferenceInput, clip: Clip, waited_s: float, total_s: float) -> None:
    """One line, without the prompts' text, which is the user's business."""
    start, end = inputs.start, inputs.end
    stages = " ".join(f"{stage}={seconds:.2f}" for stage, seconds in clip.timings_s.items())
    logger.info(
        "clip mode=%s seeds=%d,%d alpha=%g prompt_characters=%d,%d steps=%d waited_s=%.2f "
        "total_s=%.2f %s",
        inputs.mode,
        start.seed,
        end.seed,
        inputs.alpha,
        len(start.prompt),
        len(end.prompt),
        inputs.num_inference_steps,
        waited_s,
        total_s,
        stages,
    )
