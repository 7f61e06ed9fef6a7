"""Requests to the engine, as their callers see them."""

from __future__ import annotations

import time
from abc import abstractmethod
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from PIL import Image

from riffusion.datatypes import InferenceInput
from riffusion.engine.model import Model
from riffusion.errors import GenerationCancelled

if TYPE_CHECKING:
    from riffusion.diffusion.canvas import Canvas, CanvasPlan
    from riffusion.diffusion.job import DenoisingJob
    from riffusion.diffusion.magic_mix import MagicMix
    from riffusion.diffusion.stages import ProgressCallback

_Result = TypeVar("_Result")


class Request(Generic[_Result]):
    """A request and its future result. Only the thread that works on it completes it.

    Attributes:
        outcome: the future result. It raises `GenerationCancelled` after `cancel`, `InputError`,
            `GenerationError` if the model failed on this request, or what `on_progress` raised.
        stages_s: seconds per completed stage: `waiting`, `prepare`, `diffusion`, `decode`.
        cancellation: the exception of the first `cancel`, or None.
    """

    def __init__(self, on_progress: ProgressCallback | None = None) -> None:
        self.outcome: Future[_Result] = Future()
        self.outcome.set_running_or_notify_cancel()  # so that only `cancel` can stop it
        self.stages_s: dict[str, float] = {}
        self.cancellation: GenerationCancelled | None = None
        self._on_progress = on_progress
        self._stage_started = time.perf_counter()
        self._parts: list[Request[Any]] = []

    def add_part(self, part: Request[Any]) -> None:
        """Cancel another request together with this one, even if this one is cancelled already."""
        self._parts.append(part)
        if self.cancellation is not None:
            part.cancel(self.cancellation)

    def cancel(self, reason: GenerationCancelled | None = None) -> None:
        """Stop the request. The engine frees its slot before the next step.

        Args:
            reason: the exception that `outcome` raises.
        """
        self.cancellation = self.cancellation or reason or GenerationCancelled("cancelled")
        for part in tuple(self._parts):
            part.cancel(self.cancellation)

    @property
    def is_active(self) -> bool:
        """Whether the request is neither completed nor cancelled."""
        return self.cancellation is None and not self.outcome.done()

    def end_stage(self, name: str) -> None:
        """Record the time since the last stage ended as that of stage `name`."""
        now = time.perf_counter()
        self.stages_s[name] = now - self._stage_started
        self._stage_started = now

    def report(self, steps_done: int, num_steps: int) -> None:
        """Call `on_progress`. If it raises, only this request fails."""
        if self._on_progress is None:
            return
        try:
            self._on_progress(steps_done, num_steps)
        except BaseException as error:
            self.fail(error)

    def succeed(self, result: _Result) -> None:
        """Complete the request with its result."""
        self.outcome.set_result(result)

    def fail(self, error: BaseException) -> None:
        """Complete the request with an error, unless it is completed already."""
        if not self.outcome.done():
            self.outcome.set_exception(error)


class EngineRequest(Request[_Result]):
    """A request to the engine."""

    @abstractmethod
    def prepare(self, pipeline: Model) -> DenoisingJob | Canvas:
        """Turn the request into a job, in the engine's thread."""


class RequestHandle(EngineRequest[Image.Image]):
    """A request for an image; see `RiffusionPipeline.prepare` for the arguments."""

    def __init__(
        self,
        inputs: InferenceInput,
        init_image: Image.Image | None = None,
        mask_image: Image.Image | None = None,
        on_progress: ProgressCallback | None = None,
        mix: MagicMix | None = None,
    ) -> None:
        super().__init__(on_progress)
        self.inputs, self.init_image, self.mask_image = inputs, init_image, mask_image
        self.mix = mix

    @property
    def image(self) -> Future[Image.Image]:
        """The future image."""
        return self.outcome

    def prepare(self, pipeline: Model) -> DenoisingJob:
        """Turn the request into a job, in the engine's thread."""
        return pipeline.prepare(self.inputs, self.init_image, self.mask_image, mix=self.mix)


class CanvasRequest(EngineRequest[Any]):
    """A request for a canvas' latents; see `RiffusionPipeline.prepare_canvas`."""

    def __init__(
        self,
        inputs: InferenceInput,
        plan: CanvasPlan,
        on_progress: ProgressCallback | None = None,
    ) -> None:
        super().__init__(on_progress)
        self.inputs, self.plan = inputs, plan

    def prepare(self, pipeline: Model) -> Canvas:
        """Turn the request into a canvas, in the engine's thread."""
        return pipeline.prepare_canvas(self.inputs, self.plan)
