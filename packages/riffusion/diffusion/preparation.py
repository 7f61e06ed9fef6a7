"""From a request to a `DenoisingJob`: embeddings, timesteps, noise, init image and mask."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from PIL import Image

from riffusion.checkpoint.distillation import Distillation
from riffusion.datatypes import CLIP_DURATION_S, InferenceInput, PromptInput
from riffusion.diffusion.arrays import Array, array_namespace, lerp_arrays
from riffusion.diffusion.canvas import (
    Canvas,
    CanvasPlan,
    ColumnNoise,
    column_noise,
    position_between,
    window_starts,
)
from riffusion.diffusion.conditioning import PromptEncoder
from riffusion.diffusion.distilled_sampling import (
    check_sampling,
    consistency_timesteps,
    guidance_embeddings,
    is_sampled_distilled,
)
from riffusion.diffusion.geometry import LatentGeometry
from riffusion.diffusion.interpolation import lerp, slerp
from riffusion.diffusion.inversion import DDIMInversion
from riffusion.diffusion.job import CourseInTime, DenoisingJob, Inpainting, KeptPixels, StepNoise
from riffusion.diffusion.loras import LoraLibrary, LoraStack, Networks
from riffusion.diffusion.magic_mix import MagicMix
from riffusion.diffusion.networks import ArrayLibrary
from riffusion.diffusion.random_numbers import NormalNumbers
from riffusion.diffusion.samplers import DDIM, Sampler
from riffusion.diffusion.schedulers import (
    add_noise,
    new_scheduler,
    partial_timesteps,
    set_timesteps,
)
from riffusion.diffusion.vae import LatentCodec
from riffusion.errors import InputError
from riffusion.runtime.cache import TensorCache, image_key
from riffusion.spectrogram.image import FloatArray
from riffusion.spectrogram.params import SpectrogramParams

WINDOW_OVERLAP = 0.25
"""Share of a window that overlaps the next one of a canvas, at least."""
_ROUNDING = 1e-9
"""A number of steps below a whole number by less than this is that number."""


@dataclass(frozen=True)
class ImageSizes:
    """Sizes of a checkpoint's images.

    Args:
        params: define the height (number of frequencies) and the duration of a frame.
        vae_scale_factor: pixels per latent, in each direction.
        multiple: pixels that the VAE's and the UNet's inputs must be a multiple of.
    """

    params: SpectrogramParams
    vae_scale_factor: int
    multiple: int

    def of_clip(self, duration_s: float | None = None) -> LatentGeometry:
        """Geometry of a clip's image.

        Args:
            duration_s: length in seconds; None for the usual 5.12 s.
        """
        step_s = self.params.step_size_ms / 1000
        num_frames = max(1, round((duration_s or CLIP_DURATION_S) / step_s))
        return self.of_image(num_frames, self.params.num_frequencies)

    def of_image(self, width: int, height: int) -> LatentGeometry:
        """Geometry of an image of a given size in pixels."""
        return LatentGeometry(width, height, self.vae_scale_factor, self.multiple)


class _Begin(NamedTuple):
    """Where denoising begins: latents, the timesteps still to run, and what a mask keeps."""

    latents: Array
    timesteps: Any
    inpainting: Inpainting | None = None


@dataclass(frozen=True)
class JobPreparation:
    """Turns requests into jobs for one checkpoint.

    Args:
        library: makes the networks' arrays.
        unet: defines the latents' channels.
        trained_scheduler: the checkpoint's own scheduler.
        distillation: what the checkpoint can do; None if it is not distilled.
        prompt_encoder, latent_codec: prompts → embeddings, images → latents.
        sizes: sizes of the checkpoint's images.
        mask_cache: masks where the UNet computes, by mask image.
        loras: the LoRAs that requests can name.
        adaptable_networks: what they can change.
    """

    library: ArrayLibrary
    unet: Any
    trained_scheduler: Any
    distillation: Distillation | None
    prompt_encoder: PromptEncoder
    latent_codec: LatentCodec
    sizes: ImageSizes
    mask_cache: TensorCache
    loras: LoraLibrary
    adaptable_networks: Networks

    def prepare(
        self,
        inputs: InferenceInput,
        init_image: Image.Image | None,
        mask_image: Image.Image | None,
        weighted_prompts: bool,
        mix: MagicMix | None = None,
    ) -> DenoisingJob:
        """See `RiffusionPipeline.prepare`."""
        if inputs.mode == "txt2img":
            init_image = None
        if mask_image is not None and init_image is None:
            raise InputError("a mask needs an init image whose black parts are kept", "mask_image")
        geometry = (
            self.sizes.of_clip(inputs.duration_s)
            if init_image is None
            else self.sizes.of_image(*init_image.size)
        )
        check_sampling(inputs, self.distillation, self.trained_scheduler)
        is_distilled = is_sampled_distilled(inputs, self.distillation, self.trained_scheduler)
        guidance = lerp(inputs.start.guidance, inputs.end.guidance, inputs.alpha)
        is_guided = guidance > 1.0 and not is_distilled
        loras = self._loras(inputs)
        embeddings = self._embeddings(inputs, is_guided, weighted_prompts, loras)
        scheduler = new_scheduler(
            "lcm" if is_distilled else inputs.scheduler, self.trained_scheduler
        )
        timesteps = self._timesteps(inputs, scheduler, is_distilled, init_image is not None)
        ends = [self.library.numbers(end.seed) for end in (inputs.start, inputs.end)]
        start_noise, end_noise = (self._noise(numbers, geometry) for numbers in ends)
        noise = self.library.placed(slerp(inputs.alpha, start_noise, end_noise))
        if init_image is None:
            begin = _Begin(noise * scheduler.init_noise_sigma, timesteps)
        else:
            begin = self._begin_with_image(
                inputs, scheduler, timesteps, geometry, noise, init_image, mask_image, mix
            )
        return DenoisingJob(
            geometry=geometry,
            latents=begin.latents,
            timesteps=begin.timesteps,
            scheduler=scheduler,
            embeddings=embeddings,
            guidance=guidance,
            guidance_interval=inputs.guidance_interval,
            guidance_embeddings=self._guidance_embeddings(guidance) if is_distilled else None,
            step_noise=StepNoise(ends[0], ends[1], inputs.alpha) if is_distilled else None,
            generator=self._noise_of_steps(scheduler, is_distilled, ends[0]),
            inpainting=begin.inpainting,
            loras=loras,
        )

    def prepare_canvas(self, inputs: InferenceInput, plan: CanvasPlan) -> Canvas:
        """See `RiffusionPipeline.prepare_canvas`."""
        check_sampling(inputs, self.distillation, self.trained_scheduler)
        is_distilled = is_sampled_distilled(inputs, self.distillation, self.trained_scheduler)
        settings = inputs.start
        scheduler = new_scheduler(
            "lcm" if is_distilled else inputs.scheduler, self.trained_scheduler
        )
        timesteps = self._timesteps(inputs, scheduler, is_distilled, has_image=True)
        init = self.library.placed(plan.init_latents)
        shape = init.shape
        numbers = self.library.numbers
        drawn = column_noise(numbers, settings.seed, plan.first_column, shape)
        noise = self.library.placed(drawn)
        latents = init
        if plan.way == "to noise":
            assert isinstance(scheduler, DDIM)  # what its way asks for
            scheduler = DDIMInversion(scheduler)
            timesteps = scheduler.timesteps
        elif plan.way == "edit" and len(timesteps):
            latents = add_noise(scheduler, init, noise, timesteps[0])
        window = min(plan.window or self.sizes.of_clip().latent_size[0], shape[-1])
        starts = window_starts(shape[-1], window, round(window * WINDOW_OVERLAP))
        is_guided = settings.guidance > 1.0 and not is_distilled
        loras = self._loras(inputs)
        embeddings = self._window_embeddings(settings, plan, starts, window, is_guided, loras)
        inpainting = None
        if plan.repaint is not None:
            num_free = None if plan.free_share is None else _num_free(plan.free_share, inputs)
            repaint = self.library.placed(plan.repaint)
            inpainting = Inpainting(init, noise, repaint, num_free=num_free)
        course = None
        if plan.course > 0:
            share = CourseInTime.share_of_step(plan.course, len(timesteps))
            course = CourseInTime(init, noise, share)
        factor = self.sizes.vae_scale_factor
        job = DenoisingJob(
            geometry=LatentGeometry(factor * shape[-1], factor * shape[-2], factor, factor),
            latents=latents,
            timesteps=timesteps,
            scheduler=scheduler,
            embeddings=embeddings[0],
            guidance=settings.guidance,
            guidance_interval=inputs.guidance_interval,
            guidance_embeddings=self._guidance_embeddings(settings.guidance)
            if is_distilled
            else None,
            step_noise=ColumnNoise(numbers, settings.seed, plan.first_column)
            if is_distilled
            else None,
            generator=self._noise_of_steps(scheduler, is_distilled, numbers(settings.seed)),
            inpainting=inpainting,
            course=course,
            loras=loras,
        )
        return Canvas(job, starts, window, embeddings)

    def _window_embeddings(
        self,
        settings: PromptInput,
        plan: CanvasPlan,
        starts: Sequence[int],
        window: int,
        is_guided: bool,
        loras: LoraStack,
    ) -> list[Array]:
        """Embeddings of each window: of the prompts at its middle, after the negative prompt's."""
        negative = [settings.negative_prompt or ""] if is_guided else []
        prompts = [point.prompt for point in plan.prompts]
        embedded = self.prompt_encoder.embed([*negative, *prompts], loras=loras)
        unconditional, points = embedded[: len(negative)], embedded[len(negative) :]
        columns = [point.column for point in plan.prompts]
        found = []
        for start in starts:
            index, share = position_between(columns, start + window / 2)
            middle = lerp_arrays(points[index], points[min(index + 1, len(points) - 1)], share)
            found.append(array_namespace(middle).concat([*unconditional, middle]))
        return found

    def noise(self, seed: int, geometry: LatentGeometry) -> Array:
        """Noise where the UNet computes, (1, channels, height, width) float32."""
        return self.library.placed(self._noise(self.library.numbers(seed), geometry))

    def _noise(self, numbers: NormalNumbers, geometry: LatentGeometry) -> FloatArray:
        """Noise that is drawn on the CPU, so that a seed gives the same clip on every device."""
        width, height = geometry.latent_size
        return numbers.normal((1, self.unet.config.in_channels, height, width))

    def _noise_of_steps(self, scheduler: Any, is_distilled: bool, numbers: NormalNumbers) -> Any:
        """What a scheduler draws noise with. That of distilled sampling is drawn by the job."""
        if is_distilled:
            if isinstance(scheduler, Sampler):
                return None
            numbers = self.library.numbers(0)  # drawn by diffusers' scheduler, and not used
        return self.library.noise_of_steps(scheduler, numbers)

    def _loras(self, inputs: InferenceInput) -> LoraStack:
        return self.loras.stack(inputs.loras, self.adaptable_networks)

    def _embeddings(
        self, inputs: InferenceInput, is_guided: bool, weighted_prompts: bool, loras: LoraStack
    ) -> Array:
        """Embeddings between the two ends: the negative prompt's if guided, then the prompt's."""
        start, end = inputs.start, inputs.end
        prompts = [start.prompt, end.prompt]
        if is_guided:
            prompts += [start.negative_prompt or "", end.negative_prompt or ""]
        embedded = self.prompt_encoder.embed(prompts, weighted_prompts, loras)
        pairs = zip(embedded[::2], embedded[1::2], strict=True)
        rows = [lerp_arrays(at_start, at_end, inputs.alpha) for at_start, at_end in pairs]
        return array_namespace(*rows).concat(rows[::-1])

    def _guidance_embeddings(self, guidance: float) -> Array:
        assert self.distillation is not None
        width = self.unet.config.time_cond_proj_dim
        return self.library.placed(guidance_embeddings(guidance, self.distillation, width))

    def _timesteps(
        self, inputs: InferenceInput, scheduler: Any, is_distilled: bool, has_image: bool
    ) -> Any:
        """The timesteps to run, on the CPU: with an init image, those of the request's strength."""
        strength = lerp(inputs.start.denoising, inputs.end.denoising, inputs.alpha)
        num_steps = inputs.num_inference_steps
        if is_distilled:
            assert self.distillation is not None
            solver_steps = self.distillation.solver_steps
            strength = strength if has_image else 1.0
            return consistency_timesteps(scheduler, num_steps, strength, solver_steps)
        set_timesteps(scheduler, num_steps)
        if has_image:
            return partial_timesteps(scheduler, num_steps, strength)
        return scheduler.timesteps

    def _begin_with_image(
        self,
        inputs: InferenceInput,
        scheduler: Any,
        timesteps: Any,
        geometry: LatentGeometry,
        noise: Array,
        init_image: Image.Image,
        mask_image: Image.Image | None,
        mix: MagicMix | None,
    ) -> _Begin:
        """The init image's latents with the noise of the first timestep, and what a mask keeps."""
        init_latents = self.latent_codec.encode(
            init_image, geometry, self.library.numbers(inputs.start.seed)
        )
        latents = init_latents
        if len(timesteps) > 0:
            latents = add_noise(scheduler, init_latents, noise, timesteps[0])
        if mix is not None:
            repaint, num_free = self.library.placed(mix.repaint), _num_free(mix.low, inputs)
            mixed = Inpainting(init_latents, noise, repaint, num_free=num_free)
            return _Begin(latents, timesteps, mixed)
        if mask_image is None:
            return _Begin(latents, timesteps)
        repaint_pixels, repaint = self._repaint(mask_image, geometry)
        kept = KeptPixels(init_image, repaint_pixels)
        return _Begin(latents, timesteps, Inpainting(init_latents, noise, repaint, kept))

    def _repaint(self, mask: Image.Image, geometry: LatentGeometry) -> tuple[Array, ...]:
        """Share of repainting per pixel and per latent, (1, 1, height, width) each."""

        def make() -> tuple[Array, ...]:
            pixels = geometry.repaint_from_mask(mask)
            latents = geometry.latents_from_repaint(pixels)
            return pixels, self.library.placed(latents)

        key = (image_key(mask), geometry, self.unet.device)
        return self.mask_cache.get(key, make)


def _num_free(share: float, inputs: InferenceInput) -> int:
    """Number of steps in the last share of a request's steps."""
    return int(share * inputs.num_inference_steps + _ROUNDING)
