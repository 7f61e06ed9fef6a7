"""A request to the engine, as its caller sees it."""

import time
from concurrent.futures import Future

from PIL import Image

from riffusion.datatypes import InferenceInput
from riffusion.diffusion.pipeline import ProgressCallback
from riffusion.errors import GenerationCancelled


class RequestHandle:
    """A request's inputs and its future image. Only the engine completes it.

    Attributes:
        image: the future image. It raises `GenerationCancelled` after `cancel`, `InputError`,
            `GenerationError` if the model failed on this request, or what `on_progress` raised.
        stages_s: seconds per completed stage: `waiting`, `prepare`, `diffusion`, `decode`.
        cancellation: the exception of the first `cancel`, or None.
    """

    def __init__(
        self,
        inputs: InferenceInput,
        init_image: Image.Image | None = None,
        mask_image: Image.Image | None = None,
        on_progress: ProgressCallback | None = None,
    ) -> None:
        self.inputs, self.init_image, self.mask_image = inputs, init_image, mask_image
        self.image: Future[Image.Image] = Future()
        self.image.set_running_or_notify_cancel()  # so that only `cancel` can stop it
        self.stages_s: dict[str, float] = {}
        self.cancellation: GenerationCancelled | None = None
        self._on_progress = on_progress
        self._stage_started = time.perf_counter()

    def cancel(self, reason: GenerationCancelled | None = None) -> None:
        """Stop the request. The engine frees its slot before the next step.

        Args:
            reason: the exception that `image` raises.
        """
        self.cancellation = self.cancellation or reason or GenerationCancelled("cancelled")

    @property
    def is_active(self) -> bool:
        """Whether the request is neither completed nor cancelled."""
        return self.cancellation is None and not self.image.done()

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

    def succeed(self, image: Image.Image) -> None:
        """Complete the request with its image."""
        self.image.set_result(image)

    def fail(self, error: BaseException) -> None:
        """Complete the request with an error, unless it is completed already."""
        if not self.image.done():
            self.image.set_exception(error)
