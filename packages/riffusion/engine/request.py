"""One image in the making, as the one who asked for it sees it."""

import time
from concurrent.futures import Future

from PIL import Image

from riffusion.datatypes import InferenceInput
from riffusion.diffusion.pipeline import ProgressCallback
from riffusion.errors import GenerationCancelled


class RequestHandle:
    """What is asked for, and the image to come. The engine alone ends it.

    Attributes:
        image: the future image. It raises `GenerationCancelled` after `cancel`, `InputError`,
            `GenerationError` where the model failed on this job, or what `on_progress` raised.
        stages_s: seconds by stage, as far as it has come: `waiting`, `prepare`, `diffusion`,
            `decode`.
        cancellation: why nobody wants the image any more, or None.
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
        self.image.set_running_or_notify_cancel()  # `cancel` is the only way to stop it
        self.stages_s: dict[str, float] = {}
        self.cancellation: GenerationCancelled | None = None
        self._on_progress = on_progress
        self._since = time.perf_counter()

    def cancel(self, reason: GenerationCancelled | None = None) -> None:
        """Nobody wants the image any more; its place is free at the next tick.

        Args:
            reason: what `image` raises then.
        """
        self.cancellation = self.cancellation or reason or GenerationCancelled("cancelled")

    @property
    def is_wanted(self) -> bool:
        """Whether there is still something to be done for it."""
        return self.cancellation is None and not self.image.done()

    def end_stage(self, name: str) -> None:
        """Note the time since the last stage as that of `name`."""
        now = time.perf_counter()
        self.stages_s[name] = now - self._since
        self._since = now

    def report(self, steps_done: int, num_steps: int) -> None:
        """Tell of progress. A callback that raises ends this image, and nothing else."""
        if self._on_progress is None:
            return
        try:
            self._on_progress(steps_done, num_steps)
        except BaseException as error:
            self.fail(error)

    def succeed(self, image: Image.Image) -> None:
        """Hand the image over."""
        self.image.set_result(image)

    def fail(self, error: BaseException) -> None:
        """End without an image, unless it has ended."""
        if not self.image.done():
            self.image.set_exception(error)
