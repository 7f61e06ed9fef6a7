"""The state of one image between UNet calls."""

from __future__ import annotations

import inspect
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from PIL import Image

from riffusion.diffusion.arrays import (
    Array,
    array_namespace,
    copied_like,
    device,
    without_gradients,
)
from riffusion.diffusion.geometry import LatentGeometry
from riffusion.diffusion.interpolation import slerp
from riffusion.diffusion.loras import NO_LORAS, LoraStack
from riffusion.diffusion.random_numbers import NormalNumbers
from riffusion.diffusion.schedulers import add_noise


@dataclass(frozen=True)
class Inpainting:
    """What a job with a mask keeps.

    Args:
        init_latents: latents that are kept where the mask is black, (1, channels, height, width).
        noise: noise to add to them, same shape.
        repaint: share of repainting per latent in [0, 1], (1, 1, height, width).
        pixels: what is kept of the finished image; None if only the latents are used.
        num_free: nothing is kept once so few steps are left; None keeps up to the end.
    """

    init_latents: Array
    noise: Array
    repaint: Array
    pixels: KeptPixels | None = None
    num_free: int | None = None

    def keeps(self, steps_left: int) -> bool:
        """Whether something is kept while so many steps are still to run."""
        return self.num_free is None or steps_left > self.num_free


@dataclass(frozen=True)
class KeptPixels:
    """What a mask keeps of an image.

    Args:
        init_image: the image that is kept where the mask is black.
        repaint: share of repainting per pixel, (1, 1, padded height, padded width).
    """

    init_image: Image.Image
    repaint: Array


@dataclass(frozen=True)
class CourseInTime:
    """What a job keeps of its init latents' course in time, and so of the beat.

    After each step the latents' mean over frequency is moved towards that of the init latents with
    the step's noise: iterative latent variable refinement (Choi et al., "ILVR", 2021, section 3)
    with this mean as its low-pass filter. What the mean doesn't see is free.

    Args:
        init_latents: (1, channels, height, width).
        noise: noise to add to them, same shape.
        share: how far it is moved in each step, from 0 to 1.
    """

    init_latents: Array
    noise: Array
    share: float

    @staticmethod
    def share_of_step(share: float, num_steps: int) -> float:
        """The share of each step of which all steps together move by `share`."""
        return 1.0 - math.pow(1.0 - share, 1 / max(1, num_steps))

    def kept(self, latents: Array, scheduler: Any, timestep: Any) -> Array:
        """Latents at a timestep, moved."""
        noisy = add_noise(scheduler, self.init_latents, self.noise, timestep)
        xp = array_namespace(latents)
        return latents + self.share * xp.mean(noisy - latents, axis=2, keepdims=True)


class NoiseOfSteps(Protocol):
    """Noise that is added after each step but the last."""

    def draw(self, latents: Array) -> Array:
        """The next noise, with shape and device of `latents`, float32."""
        ...


class HasShape(Protocol):
    """Something with latents."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the latents, (1, channels, height, width)."""
        ...


class UNetRows(HasShape, Protocol):
    """What takes part in a UNet call: a job, or a window of a canvas."""

    embeddings: Array

    @property
    def loras(self) -> LoraStack:
        """What changes the UNet. Only rows with equal ones can share a UNet call."""
        ...

    @property
    def num_rows(self) -> int:
        """Rows in the next UNet call: two if the step is guided, else one."""
        ...

    @property
    def timestep(self) -> Any:
        """Timestep of the next step, a scalar."""
        ...

    def unet_rows(self) -> Array:
        """Input of the next UNet call, (rows, channels, height, width)."""
        ...

    def unet_embeddings(self) -> Array:
        """Embeddings for these rows, (rows, tokens, width)."""
        ...

    def unet_guidance(self, width: int) -> Array:
        """What these rows are told about guidance, (rows, width)."""
        ...

    def advance(self, prediction: Array) -> None:
        """Take the UNet's output for these rows."""
        ...


@dataclass(frozen=True)
class StepNoise:
    """The noise that distilled sampling adds in each step, between that of two seeds.

    It is interpolated as the initial noise is, so a walk has no jump where it reaches a seed.

    Args:
        start, end: the seeds' numbers, from which the initial noise has been drawn.
        alpha: position between the two, from 0 to 1.
    """

    start: NormalNumbers
    end: NormalNumbers
    alpha: float

    def draw(self, latents: Array) -> Array:
        """The next noise, with shape and device of `latents`, float32."""
        start, end = (numbers.normal(latents.shape) for numbers in (self.start, self.end))
        return copied_like(slerp(self.alpha, start, end), latents)


@dataclass
class DenoisingJob:
    """State of one image between two UNet calls.

    It owns its scheduler, so jobs that differ in steps, strength, scheduler or guidance can share
    a UNet call: each gives its rows (`unet_rows`) and takes its part of the output (`advance`).

    Args:
        geometry: the image's geometry.
        latents: (1, channels, height, width) float32, with the noise of the first timestep. They
            are float32 whatever the UNet's precision is, as are the other tensors beside the UNet:
            schedulers draw noise in the latents' type, and half precision draws other noise.
        timesteps: timesteps to run, noisiest first, on the CPU; in order of the steps.
        scheduler: one of its own, of `new_scheduler`, with its timesteps set.
        embeddings: (rows, tokens, width); if guided, the negative prompt's before the prompt's.
        guidance: classifier-free guidance scale.
        generator: for schedulers that draw noise in each step, `NormalNumbers` for our samplers and
            a `torch.Generator` for diffusers' schedulers; the initial noise has been drawn from
            it, so the steps' noise is independent of that. With `step_noise`, its numbers are not
            used.
        guidance_interval: guidance applies from the first to the second share of the steps.
        guidance_embeddings: for distilled sampling, which has one row per step: embeddings of the
            guidance inside of that interval and outside, (2, width).
        step_noise: for distilled sampling: the noise of each step but the last.
        inpainting: what to keep, for a job with a mask.
        course: what to keep of the init latents' course in time.
        steps_done: number of completed steps.
        loras: what changes the UNet; jobs with equal ones can share a UNet call.
    """

    geometry: LatentGeometry
    latents: Array
    timesteps: Any
    scheduler: Any
    embeddings: Array
    guidance: float
    generator: Any
    guidance_interval: tuple[float, float] = (0.0, 1.0)
    guidance_embeddings: Array | None = None
    step_noise: NoiseOfSteps | None = None
    inpainting: Inpainting | None = None
    course: CourseInTime | None = None
    steps_done: int = 0
    loras: LoraStack = NO_LORAS

    @property
    def parts(self) -> Sequence[UNetRows]:
        """What can take part in the next UNet call: the job itself."""
        return (self,)

    @property
    def num_steps(self) -> int:
        """Number of steps in total; each takes one UNet call."""
        return len(self.timesteps)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the latents. Jobs of one shape can share a UNet call."""
        shape: tuple[int, ...] = self.latents.shape
        return shape

    @property
    def steps_left(self) -> int:
        """Number of steps still to run."""
        return self.num_steps - self.steps_done

    @property
    def num_rows(self) -> int:
        """Rows in the next UNet call: two if the step is guided, else one."""
        return len(self.embeddings) if self._is_in_guidance_interval else 1

    @property
    def _is_in_guidance_interval(self) -> bool:
        first, last = self.guidance_interval
        return first <= self.steps_done / self.num_steps < last

    @property
    def is_done(self) -> bool:
        """Whether all steps are done, so that the latents can be decoded."""
        return self.steps_done >= self.num_steps

    @property
    def timestep(self) -> Any:
        """Timestep of the next step, a scalar."""
        return self.timesteps[self.steps_done]

    def unet_rows(self) -> Array:
        """Input of the next UNet call, (rows, channels, height, width)."""
        scaled = self.scheduler.scale_model_input(self.latents, self.timestep)
        shape = (self.num_rows, *scaled.shape[1:])
        return array_namespace(scaled).broadcast_to(scaled, shape)

    def unet_embeddings(self) -> Array:
        """Embeddings for the rows of the next UNet call, (rows, tokens, width)."""
        return self.embeddings[-self.num_rows :]

    def unet_guidance(self, width: int) -> Array:
        """What the rows of the next UNet call are told about guidance, (rows, width).

        Args:
            width: the UNet's `time_cond_proj_dim`.
        """
        if self.guidance_embeddings is None:
            xp, kind = array_namespace(self.embeddings), self.embeddings.dtype
            return xp.zeros((self.num_rows, width), dtype=kind, device=device(self.embeddings))
        index = 0 if self._is_in_guidance_interval else 1
        return self.guidance_embeddings[index : index + 1]

    def advance(self, prediction: Array) -> None:
        """Run one step.

        Args:
            prediction: the UNet's output for `unet_rows`, same shape.
        """
        with without_gradients(prediction):
            self._advance(prediction)

    def _advance(self, prediction: Array) -> None:
        xp = array_namespace(prediction)
        prediction = xp.astype(prediction, xp.float32, copy=False)
        if self.num_rows == 2:
            unconditional, conditional = prediction[:1], prediction[1:]
            prediction = unconditional + self.guidance * (conditional - unconditional)
        options = {"generator": self.generator} if self._draws_noise else {}
        self.latents, *denoised = self.scheduler.step(
            prediction, self.timestep, self.latents, return_dict=False, **options
        )
        self.steps_done += 1
        if self.step_noise is not None and not self.is_done:
            noise = self.step_noise.draw(self.latents)
            self.latents = add_noise(self.scheduler, denoised[0], noise, self.timestep)
        if self.course is not None and not self.is_done:
            self.latents = self.course.kept(self.latents, self.scheduler, self.timestep)
        if self.inpainting is not None and self.inpainting.keeps(self.steps_left):
            self.latents = self._keep_unmasked(self.inpainting)

    @property
    def _draws_noise(self) -> bool:
        return "generator" in inspect.signature(self.scheduler.step).parameters

    def _keep_unmasked(self, keep: Inpainting) -> Array:
        """Latents, with the init latents put back where the mask keeps them, noised as the rest."""
        kept = keep.init_latents
        if not self.is_done:
            kept = add_noise(self.scheduler, kept, keep.noise, self.timestep)
        return kept + keep.repaint * (self.latents - kept)

    def finish(self, pixels: Array) -> Image.Image:
        """The finished image. Pixels that the mask keeps entirely are the init image's own.

        Args:
            pixels: decoded latents, (3, padded height, padded width) in [-1, 1].
        """
        kept = None if self.inpainting is None else self.inpainting.pixels
        if kept is not None:
            xp = array_namespace(pixels)
            init = copied_like(self.geometry.pixels_from_image(kept.init_image)[0], pixels)
            untouched = copied_like(kept.repaint[0] == 0, pixels)
            pixels = xp.where(untouched, xp.astype(init, pixels.dtype), pixels)
        return self.geometry.image_from_pixels(pixels)
