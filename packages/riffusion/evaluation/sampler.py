"""Images drawn by the checkpoint: many jobs to a UNet call, and none that holds NaN."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image

from riffusion.datatypes import InferenceInput
from riffusion.diffusion.job import DenoisingJob
from riffusion.errors import CheckpointError, InputError
from riffusion.evaluation.images import Plane, image_from_plane, plane_from_image
from riffusion.evaluation.progress import Progress, silent
from riffusion.evaluation.prompts import ClipPrompt
from riffusion.evaluation.settings import EvaluationSettings

if TYPE_CHECKING:
    from riffusion.diffusion import RiffusionPipeline

DrawRequest = tuple[InferenceInput, Image.Image | None]
"""A request, and what it is painted over."""


class Sampler:
    """Draws clips of one size with one way of sampling.

    Args:
        pipeline: the checkpoint.
        settings: steps, guidance, scheduler and batch size.
        size: (width, height) of the images.
        progress: opens a stage for each call.
    """

    def __init__(
        self,
        pipeline: "RiffusionPipeline",
        settings: EvaluationSettings,
        size: tuple[int, int],
        progress: Progress = silent,
    ) -> None:
        self.pipeline = pipeline
        self.params = pipeline.spectrogram_params
        self._settings = settings
        self._duration_s = size[0] * self.params.step_size_ms / 1000
        self._progress = progress

    def from_prompts(self, prompts: Sequence[ClipPrompt], stage: str) -> list[Plane]:
        """Planes of clips drawn from noise.

        Raises:
            CheckpointError: a clip holds NaN.
        """
        return list(self.draw([(self.request(p.prompt, p.seed), None) for p in prompts], stage))

    def request(self, prompt: str, seed: int, **changes: Any) -> InferenceInput:
        """A request for a clip from noise; `changes` go on top.

        Raises:
            InputError: the prompt is too long, or the clip is.
        """
        settings = self._settings
        try:
            return InferenceInput.parse(
                {
                    "start": {"prompt": prompt, "seed": seed, "guidance": settings.guidance},
                    "mode": "txt2img",
                    "duration_s": self._duration_s,
                    "num_inference_steps": settings.steps,
                    "scheduler": settings.scheduler,
                }
                | changes
            )
        except InputError as error:
            raise InputError(f"prompt={prompt[:60]!r} cannot be drawn: {error}") from error

    def painted_over(self, plane: Plane, prompt: str, seed: int, strength: float) -> DrawRequest:
        """A request for a clip painted over another one's plane."""
        end = {"prompt": prompt, "seed": seed, "guidance": self._settings.guidance}
        changes = {"mode": "img2img", "duration_s": None, "start": end | {"denoising": strength}}
        return self.request(prompt, seed, **changes), image_from_plane(plane, self.params)

    def draw(self, requests: Sequence[DrawRequest], stage: str) -> Iterator[Plane]:
        """Planes (frequency, time) of requests, in their order.

        Args:
            requests: what to draw.
            stage: name for the progress.

        Raises:
            CheckpointError: a clip holds NaN.
        """
        with self._progress(stage) as move:
            for begin in range(0, len(requests), self._settings.batch_size):
                batch = requests[begin : begin + self._settings.batch_size]
                jobs = [self.pipeline.prepare(inputs, init) for inputs, init in batch]
                while not all(job.is_done for job in jobs):
                    self.pipeline.step(jobs)
                for image in self._decode(jobs, batch):
                    yield plane_from_image(image, self.params)
                move(begin + len(batch), len(requests))

    def _decode(
        self, jobs: Sequence[DenoisingJob], batch: Sequence[DrawRequest]
    ) -> list[Image.Image]:
        for job, (inputs, _) in zip(jobs, batch, strict=True):
            if not torch.isfinite(job.latents).all():
                raise _not_a_number(inputs)
        try:
            with np.errstate(invalid="raise"):  # NaN has no grey level
                return self.pipeline.decode(jobs)
        except FloatingPointError as error:
            raise _not_a_number(batch[0][0]) from error


def _not_a_number(inputs: InferenceInput) -> CheckpointError:
    return CheckpointError(
        f"the clip for prompt={inputs.start.prompt!r}, seed={inputs.start.seed}, "
        f"scheduler={inputs.scheduler!r} holds NaN; images must be finite: the training has "
        "diverged, or the weights don't fit half precision, so go back to an earlier state"
    )
