"""Draws images with the checkpoint in batches, and refuses NaN."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image

from riffusion.datatypes import InferenceInput
from riffusion.diffusion import RiffusionPipeline
from riffusion.diffusion.job import DenoisingJob
from riffusion.errors import CheckpointError, InputError
from riffusion.evaluation.images import Plane, image_from_plane, plane_from_image
from riffusion.evaluation.progress import Progress, silent
from riffusion.evaluation.prompts import ClipPrompt
from riffusion.evaluation.settings import EvaluationSettings

DrawRequest = tuple[InferenceInput, Image.Image | None]
"""A request and its init image, if it has one."""


class Sampler:
    """Draws clips of one size with fixed sampling settings.

    Args:
        pipeline: the checkpoint.
        settings: steps, guidance, scheduler and batch size.
        size: (width, height) of the images.
        progress: opens a progress stage for each call.
    """

    def __init__(
        self,
        pipeline: RiffusionPipeline,
        settings: EvaluationSettings,
        size: tuple[int, int],
        progress: Progress = silent,
    ) -> None:
        self.pipeline = pipeline
        self.params = pipeline.spectrogram_params
        self._settings = settings
        self._duration_s = size[0] * self.params.step_size_ms / 1000
        self._progress = progress

    def check(self) -> None:
        """Check that the checkpoint can be sampled with the settings.

        Raises:
            InputError: it is distilled, and can't.
        """
        settings, distillation = self._settings, self.pipeline.distillation
        try:
            self.pipeline.check_sampling(self.request("", settings.seed))
        except InputError as error:
            if distillation is None:
                raise
            low, high = distillation.guidance
            other = ", or another scheduler" if distillation.guided_sampling else ""
            raise InputError(
                f"scheduler={settings.scheduler!r}, steps={settings.steps} and "
                f"guidance={settings.guidance:g} do not suit this distilled checkpoint; use "
                f"--scheduler lcm with --steps up to {distillation.max_steps} and --guidance from "
                f"{low:g} to {high:g}{other}"
            ) from error

    def sample_prompts(self, prompts: Sequence[ClipPrompt], stage: str) -> list[Plane]:
        """Planes of clips drawn by txt2img.

        Raises:
            CheckpointError: a clip contains NaN.
        """
        return list(self.sample([(self.request(p.prompt, p.seed), None) for p in prompts], stage))

    def request(self, prompt: str, seed: int, **changes: Any) -> InferenceInput:
        """A txt2img request; `changes` replace or add fields.

        Raises:
            InputError: the prompt or the clip is too long.
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
                    "guidance_interval": settings.guidance_interval,
                }
                | changes
            )
        except InputError as error:
            raise InputError(f"prompt={prompt[:60]!r} cannot be drawn: {error}") from error

    def img2img_request(self, plane: Plane, prompt: str, seed: int, strength: float) -> DrawRequest:
        """An img2img request with a plane as the init image."""
        end = {"prompt": prompt, "seed": seed, "guidance": self._settings.guidance}
        changes = {"mode": "img2img", "duration_s": None, "start": end | {"denoising": strength}}
        return self.request(prompt, seed, **changes), image_from_plane(plane, self.params)

    def sample(self, requests: Sequence[DrawRequest], stage: str) -> Iterator[Plane]:
        """Draw a plane (frequency, time) for each request, in order.

        Args:
            requests: the requests.
            stage: label of the progress stage.

        Raises:
            CheckpointError: a clip contains NaN.
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
                raise _nan_error(inputs)
        try:
            with np.errstate(invalid="raise"):  # NaN cannot become a grey level
                return self.pipeline.decode(jobs)
        except FloatingPointError as error:
            raise _nan_error(batch[0][0]) from error


def _nan_error(inputs: InferenceInput) -> CheckpointError:
    return CheckpointError(
        f"the clip for prompt={inputs.start.prompt!r}, seed={inputs.start.seed}, "
        f"scheduler={inputs.scheduler!r} contains NaN; images must be finite: the training has "
        "diverged, or the weights overflow in half precision; use an earlier state"
    )
