"""One clip in progress in the service. Its events are progress, and last a result or an exception.

`result` waits for the last one and returns it; `ndjson` streams them all as lines of JSON.
"""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import Future
from types import MappingProxyType
from typing import Any

from riffusion.datatypes import InferenceOutput
from riffusion.engine import Request
from riffusion.errors import GenerationCancelled, GenerationError, InputError, StorageFullError
from riffusion.serving.model.clip_trace import ClipTrace
from riffusion.serving.model.work import FinishedJob

logger = logging.getLogger(__name__)

INTERNAL_ERROR = "the clip could not be made; the server's log has the reason"
_POLL_S = 0.5
_HEARTBEAT_S = 5.0
"""Interval at which a stream repeats its progress, so that clients know that it is alive."""

Progress = tuple[int, int]
"""Steps done, and total number of steps."""
Event = Progress | InferenceOutput | Exception


class ClipJob:
    """One clip in progress. Its events can be read once, by `result` or by `ndjson`.

    Args:
        num_steps: number of steps in the request; the scheduler's own number is known after the
            first step.

    Attributes:
        handle: the request for the image, for the edit of a recording, or for the clip.
        audio: future of the audio and its encoding, or of None if the clip is drawn again; None
            until the image is done.
        task: makes the clip; when it ends, the job's slot is free.
        timings_s: duration of each stage of the finished clip, in seconds.
        steps_done: denoising steps of the last draw so far.
        trace: the request's spans, which begin with the job.
    """

    handle: Request[Any]
    audio: Future[FinishedJob | None] | None = None
    task: asyncio.Task[None]
    timings_s: Mapping[str, float] = MappingProxyType({})
    steps_done: int = 0

    def __init__(self, num_steps: int) -> None:
        self._progress: Progress = (0, num_steps)
        self._events: asyncio.Queue[Event] = asyncio.Queue()
        self.loop = asyncio.get_running_loop()
        self.trace = ClipTrace()

    def put(self, event: Event) -> None:
        """Add an event, on the event loop's thread. The last event is a result or an exception."""
        self._events.put_nowait(event)

    def put_progress(self, step: int, num_steps: int) -> None:
        """Add progress, from any thread."""
        self.steps_done = step
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
            StorageFullError: there is no room for temporary files.
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

        The result has the seconds of each stage as `timings`, which a header would come too early
        for.

        While nothing happens, in the queue or while the audio is made, the last progress is
        repeated every 5 s.
        """
        try:
            while isinstance(event := await self._next_event(_HEARTBEAT_S), tuple):
                self._progress = event
                yield _line("progress", step=event[0], steps=event[1])
            if isinstance(event, InferenceOutput):
                yield _line("result", **event.model_dump(), timings=dict(self.timings_s))
            elif isinstance(event, (InputError, GenerationCancelled, StorageFullError)):
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


def _line(event: str, **values: object) -> bytes:
    return json.dumps({"event": event, **values}).encode() + b"\n"
