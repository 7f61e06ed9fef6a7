"""The work of the service, whatever the checkpoint: what a maker of clips and a request's work are.

maker.resolve(request) ─▶ work.start ─▶ a handle, whose outcome is awaited ─▶ work.finish
on a thread               at once                                             on a thread
"""

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

from riffusion.datatypes import InferenceInput, InferenceOutput
from riffusion.diffusion.stages import ProgressCallback
from riffusion.engine import Request


class FinishedJob(NamedTuple):
    """The answer, and the seconds that its stages took."""

    output: InferenceOutput
    timings_s: Mapping[str, float]


class Work(Protocol):
    """What one request asks for: checked, and its media decoded."""

    @property
    def takes_much_memory(self) -> bool:
        """Whether freed memory is returned to the system after it."""
        ...

    def start(self, on_progress: ProgressCallback) -> Request[Any]:
        """Begin the clip, or its next draw.

        Args:
            on_progress: called with (steps done, total steps), from any thread.
        """
        ...

    def finish(self, handle: Request[Any]) -> FinishedJob | None:
        """The answer, on the caller's thread; None if the clip is drawn again: `start`.

        Args:
            handle: what `start` returned; its outcome is known.
        """
        ...


class Maker(Protocol):
    """Makes what requests ask for, with one checkpoint."""

    @property
    def max_num_running(self) -> int:
        """How many clips it works on at the same time."""
        ...

    @property
    def is_healthy(self) -> bool:
        """False if its thread hangs or has died."""
        ...

    def resolve(self, inputs: InferenceInput) -> Work:
        """Check a request and decode its media, on the caller's thread, without the model.

        Raises:
            InputError: a field is not valid; `field` names it.
            OverloadedError: the decoder has no time for the request's audio.
        """
        ...

    def seconds_until_a_clip_is_done(self) -> float:
        """Estimated seconds until a running clip is done, apart from `Work.finish`."""
        ...

    def show_metrics(self) -> None:
        """Let Prometheus' metrics show this maker."""
        ...
