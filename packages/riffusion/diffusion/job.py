"""One image on its way from noise to done."""

import inspect
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image

from riffusion.diffusion.geometry import LatentGeometry


@dataclass(frozen=True)
class Inpainting:
    """What a masked job keeps.

    Args:
        init_image: the image that is kept where the mask is black.
        init_latents: its latents, (1, channels, height, width).
        noise: what they are noised with, same shape.
        repaint: share of repainting for each latent, (1, 1, height, width).
        repaint_pixels: the same for each pixel, (1, 1, padded height, padded width).
    """

    init_image: Image.Image
    init_latents: torch.Tensor
    noise: torch.Tensor
    repaint: torch.Tensor
    repaint_pixels: torch.Tensor


@dataclass
class DenoisingJob:
    """State of one image between two UNet calls.

    It owns its scheduler, so jobs that differ in steps, strength, scheduler or guidance can share
    a UNet call: each says what it feeds in (`unet_rows`) and takes back its part (`advance`).

    Args:
        geometry: the image's geometry.
        latents: (1, channels, height, width), noised to the first of `timesteps`.
        timesteps: those still to run, noisiest first, on the CPU.
        scheduler: a fresh diffusers scheduler, its timesteps set.
        embeddings: (rows, tokens, width); the negative prompt's before the prompt's if guided.
        guidance: classifier-free guidance scale.
        guidance_interval: share of the steps (from, to) between which guidance applies.
        generator: for schedulers that draw noise on the way.
        inpainting: what to keep, for a masked job.
    """

    geometry: LatentGeometry
    latents: torch.Tensor
    timesteps: torch.Tensor
    scheduler: Any
    embeddings: torch.Tensor
    guidance: float
    generator: torch.Generator
    guidance_interval: tuple[float, float] = (0.0, 1.0)
    inpainting: Inpainting | None = None
    steps_done: int = 0

    @property
    def num_steps(self) -> int:
        """UNet calls from start to end."""
        return len(self.timesteps)

    @property
    def shape(self) -> torch.Size:
        """Of the latents; jobs of one shape can share a UNet call."""
        return self.latents.shape

    @property
    def steps_left(self) -> int:
        """UNet calls still to come."""
        return self.num_steps - self.steps_done

    @property
    def num_rows(self) -> int:
        """Rows of the next UNet call: two if it is guided, else one."""
        first, last = self.guidance_interval
        is_inside = first <= self.steps_done / self.num_steps < last
        return len(self.embeddings) if is_inside else 1

    @property
    def is_done(self) -> bool:
        """Whether the latents are ready to be decoded."""
        return self.steps_done >= self.num_steps

    @property
    def timestep(self) -> torch.Tensor:
        """The timestep to run next, a scalar."""
        return self.timesteps[self.steps_done]

    def unet_rows(self) -> torch.Tensor:
        """Input of the next UNet call, (rows, channels, height, width)."""
        scaled: torch.Tensor = self.scheduler.scale_model_input(self.latents, self.timestep)
        return scaled.expand(self.num_rows, -1, -1, -1)

    def unet_embeddings(self) -> torch.Tensor:
        """What the rows of the next UNet call are conditioned on, (rows, tokens, width)."""
        return self.embeddings[-self.num_rows :]

    @torch.inference_mode()
    def advance(self, prediction: torch.Tensor) -> None:
        """Take one step.

        Args:
            prediction: the UNet's output for `unet_rows`, same shape.
        """
        if self.num_rows == 2:
            unconditional, conditional = prediction.chunk(2)
            prediction = unconditional + self.guidance * (conditional - unconditional)
        options = {"generator": self.generator} if self._draws_noise else {}
        self.latents = self.scheduler.step(
            prediction, self.timestep, self.latents, return_dict=False, **options
        )[0]
        self.steps_done += 1
        if self.inpainting is not None:
            self.latents = self._keep_unmasked(self.inpainting)

    @property
    def _draws_noise(self) -> bool:
        return "generator" in inspect.signature(self.scheduler.step).parameters

    def _keep_unmasked(self, keep: Inpainting) -> torch.Tensor:
        """Put the init latents back, noised as the rest still is; clean after the last step."""
        kept = keep.init_latents
        if not self.is_done:
            kept = self.scheduler.add_noise(kept, keep.noise, self.timestep.reshape(1))
        return kept + keep.repaint * (self.latents - kept)

    def finish(self, pixels: torch.Tensor) -> Image.Image:
        """The image.

        Args:
            pixels: the decoded latents, (3, padded height, padded width) in [-1, 1].
        """
        if self.inpainting is not None:
            keep = self.inpainting
            init = self.geometry.pixels_from_image(keep.init_image).to(pixels)[0]
            untouched = keep.repaint_pixels.to(pixels)[0] == 0
            pixels = torch.where(untouched, init, pixels)
        return self.geometry.image_from_pixels(pixels)
