"""What the engine needs of a pipeline."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from PIL import Image

from riffusion.datatypes import InferenceInput

if TYPE_CHECKING:
    from riffusion.diffusion.canvas import Canvas, CanvasPlan
    from riffusion.diffusion.job import DenoisingJob, UNetRows
    from riffusion.diffusion.magic_mix import MagicMix


class Model(Protocol):
    """A pipeline: `RiffusionPipeline`, or one with other arrays than PyTorch's tensors."""

    @property
    def device(self) -> Any:
        """The device; its `type` is `cuda` on a GPU whose work is waited for."""

    @property
    def unet(self) -> Any:
        """The UNet; its `dtype` is named in errors."""

    def prepare(
        self,
        inputs: InferenceInput,
        init_image: Image.Image | None = None,
        mask_image: Image.Image | None = None,
        *,
        mix: MagicMix | None = None,
    ) -> DenoisingJob:
        """Turn a request into a job."""

    def prepare_canvas(self, inputs: InferenceInput, plan: CanvasPlan) -> Canvas:
        """Turn a request into a canvas."""

    def predict(self, jobs: Sequence[UNetRows]) -> Sequence[Any]:
        """The UNet's outputs for the next step of each job, in one call."""

    def decode(self, jobs: Sequence[DenoisingJob]) -> list[Image.Image]:
        """Images of finished jobs."""

    def relative_length(self, latent_shape: Any) -> float:
        """Size of an image relative to that of a clip of the usual length, at least 1."""

    def warm_up(self) -> None:
        """Run everything once that clips of the usual length run."""
