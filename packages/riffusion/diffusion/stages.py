"""The stages of a pipeline, prepare, step and decode, whatever library computes its networks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

from PIL import Image

from riffusion.checkpoint.distillation import Distillation
from riffusion.datatypes import InferenceInput
from riffusion.diffusion.arrays import Array, array_namespace
from riffusion.diffusion.batching import group_by_call, group_by_shape
from riffusion.diffusion.canvas import Canvas, CanvasPlan
from riffusion.diffusion.conditioning import PromptEncoder
from riffusion.diffusion.distilled_sampling import check_sampling
from riffusion.diffusion.job import DenoisingJob, UNetRows
from riffusion.diffusion.loras import LoraLibrary
from riffusion.diffusion.magic_mix import MagicMix
from riffusion.diffusion.networks import ArrayLibrary
from riffusion.diffusion.preparation import ImageSizes, JobPreparation
from riffusion.diffusion.random_numbers import NormalNumbers
from riffusion.diffusion.vae import LatentCodec
from riffusion.runtime.cache import TensorCache
from riffusion.spectrogram.params import SpectrogramParams

_EMBEDDING_CACHE_BYTES = 64 * 2**20
"""About 280 prompts of Stable Diffusion in half precision."""
_LATENT_CACHE_BYTES = 64 * 2**20
"""About 1,000 images of Stable Diffusion in half precision."""
_MASK_CACHE_BYTES = 32 * 2**20
"""About 30 masks of clips of the usual length."""

ProgressCallback = Callable[[int, int], None]
"""Called after each step with (steps done, number of steps)."""


class PipelineStages(ABC):
    """`prepare` turns a request into a `DenoisingJob`, `step` advances any number of jobs by one
    step, `decode` turns finished jobs into images.

    Attributes:
        spectrogram_params: parameters of the checkpoint's images.
        vae_scale_factor: pixels per latent, in each direction.
        scheduler: the checkpoint's own.
        unet: defines the latents' channels and the precision.
        embedding_cache, latent_cache, mask_cache: results that requests share.
        loras: the LoRAs that requests can name; none at first.
    """

    spectrogram_params: SpectrogramParams
    vae_scale_factor: int
    scheduler: Any
    unet: Any
    embedding_cache: TensorCache
    latent_cache: TensorCache
    mask_cache: TensorCache
    loras: LoraLibrary
    _size_multiple: int

    def _make_caches(self) -> None:
        self.embedding_cache = TensorCache(_EMBEDDING_CACHE_BYTES)
        self.latent_cache = TensorCache(_LATENT_CACHE_BYTES)
        self.mask_cache = TensorCache(_MASK_CACHE_BYTES)
        self.loras = LoraLibrary()

    @property
    @abstractmethod
    def distillation(self) -> Distillation | None:
        """What the checkpoint can do if it is distilled, else None."""

    @property
    @abstractmethod
    def adaptable_networks(self) -> dict[str, Any]:
        """The networks that LoRAs can change."""

    @abstractmethod
    def predict(self, jobs: Sequence[UNetRows]) -> list[Array]:
        """The UNet's outputs for the next step of each job, in one call. Changes no job.

        Args:
            jobs: unfinished jobs of one shape, with the same LoRAs.
        """

    @property
    @abstractmethod
    def _library(self) -> ArrayLibrary: ...

    @property
    @abstractmethod
    def _prompt_encoder(self) -> PromptEncoder: ...

    @property
    @abstractmethod
    def _latent_codec(self) -> LatentCodec: ...

    @abstractmethod
    def _computing(self) -> AbstractContextManager[Any]:
        """Context for computations, in which nothing is recorded for gradients."""

    def numbers(self, seed: int) -> NormalNumbers:
        """The normal numbers of a seed."""
        return self._library.numbers(seed)

    def riffuse(
        self,
        inputs: InferenceInput,
        init_image: Image.Image | None = None,
        mask_image: Image.Image | None = None,
        use_reweighting: bool = True,
    ) -> Image.Image:
        """Upstream's method: run one request.

        Args:
            use_reweighting: whether brackets in prompts are weights; otherwise they are text.
        """
        job = self.prepare(inputs, init_image, mask_image, weighted_prompts=use_reweighting)
        return self._finish(job)

    def _finish(
        self, job: DenoisingJob, on_progress: ProgressCallback | None = None
    ) -> Image.Image:
        while not job.is_done:
            self.step([job])
            if on_progress is not None:
                on_progress(job.steps_done, job.num_steps)
        return self.decode([job])[0]

    def embed_text(self, text: str) -> Array:
        """Upstream's method: embed a prompt with brackets as text, (1, tokens, width)."""
        with self._computing():
            return self._prompt_encoder.embed([text], weighted=False)[0]

    def embed_text_weighted(self, text: str) -> Array:
        """Upstream's method: embed a prompt with brackets as weights, (1, tokens, width)."""
        with self._computing():
            return self._prompt_encoder.embed([text])[0]

    def prepare(
        self,
        inputs: InferenceInput,
        init_image: Image.Image | None = None,
        mask_image: Image.Image | None = None,
        weighted_prompts: bool = True,
        mix: MagicMix | None = None,
    ) -> DenoisingJob:
        """Turn a request into a job.

        Args:
            inputs: prompts, seeds and strengths. Its image ids and inline media are not read:
                pass the images.
            init_image: image of any size to start from. None starts from noise, as
                `mode="txt2img"` always does.
            mask_image: white is repainted, black is kept; resized to the init image.
            weighted_prompts: whether brackets in prompts are weights; otherwise they are text.
            mix: mix the init image in along the way, in place of a mask.

        Raises:
            InputError: there is a mask but no init image, a prompt weight is out of range, or the
                checkpoint can't be sampled as the request asks for.
        """
        with self._computing():
            return self._preparation.prepare(inputs, init_image, mask_image, weighted_prompts, mix)

    def prepare_canvas(self, inputs: InferenceInput, plan: CanvasPlan) -> Canvas:
        """Turn a request into a canvas, which `engine.Engine` advances window by window.

        Args:
            inputs: seed, negative prompt, denoising, guidance, scheduler and steps of the request's
                start; its prompt isn't read.
            plan: latents, prompts and mask.

        Raises:
            InputError: a prompt weight is out of range, or the checkpoint can't be sampled as the
                request asks for.
        """
        with self._computing():
            return self._preparation.prepare_canvas(inputs, plan)

    def encode_pixels(self, pixels: Array) -> Array:
        """Latents of a grey image of any width, without an image's rounding to 8 bits.

        Args:
            pixels: (`padded_height`, width) in [-1, 1]; the width is a multiple of
                `vae_scale_factor`.

        Returns:
            (1, channels, height, columns) float32 on the pipeline's device; the most likely ones.
        """
        with self._computing():
            shape = (1, 3, *pixels.shape)
            return self._latent_codec.encode_pixels(
                array_namespace(pixels).broadcast_to(pixels, shape)
            )

    def decode_latents(self, latents: Array) -> Array:
        """The inverse of `encode_pixels`: the mean of the colours, about in [-1, 1]."""
        with self._computing():
            decoded = self._latent_codec.decode(latents)
            xp = array_namespace(decoded)
            return xp.mean(xp.astype(decoded, xp.float32, copy=False), axis=1)[0]

    @property
    def clip_columns(self) -> int:
        """Columns of the latents of a clip of the usual length."""
        return self._sizes.of_clip().latent_size[0]

    @property
    def padded_height(self) -> int:
        """Height of the images that the networks see."""
        return self._sizes.of_clip().padded_size[1]

    def step(self, jobs: Sequence[DenoisingJob]) -> None:
        """Advance each unfinished job by one step; jobs of one shape share one UNet call.

        Their LoRAs have to be the same, too.
        """
        with self._computing():
            unfinished = [job for job in jobs if not job.is_done]
            for indices in group_by_call(unfinished):
                group = [unfinished[index] for index in indices]
                for job, prediction in zip(group, self.predict(group), strict=True):
                    job.advance(prediction)

    def decode(self, jobs: Sequence[DenoisingJob]) -> list[Image.Image]:
        """Images of finished jobs; those of one shape are decoded together."""
        with self._computing():
            images: dict[int, Image.Image] = {}
            for indices in group_by_shape(jobs):
                parts = [jobs[index].latents for index in indices]
                latents = array_namespace(*parts).concat(parts)
                pixels = self._latent_codec.decode(latents)
                for index, decoded in zip(indices, pixels, strict=True):
                    images[index] = jobs[index].finish(decoded)
            return [images[index] for index in range(len(jobs))]

    def check_sampling(self, inputs: InferenceInput) -> None:
        """Check that the checkpoint can be sampled as a request asks for, as `prepare` does.

        Raises:
            InputError: it can't; `field` names the request's field.
        """
        check_sampling(inputs, self.distillation, self.scheduler)

    def check_loras(self, inputs: InferenceInput) -> None:
        """Load a request's LoRAs, unless they are loaded already.

        Raises:
            InputError: an id is unknown, or its LoRA can't be used; `field` is `loras`.
        """
        self.loras.stack(inputs.loras, self.adaptable_networks)

    def relative_length(self, latent_shape: Sequence[int]) -> float:
        """Size of an image relative to that of a clip of the usual length, at least 1.

        Args:
            latent_shape: (1, channels, height, width).
        """
        width, height = self._sizes.of_clip().latent_size
        return max(1.0, latent_shape[-2] * latent_shape[-1] / (width * height))

    @property
    def _sizes(self) -> ImageSizes:
        return ImageSizes(self.spectrogram_params, self.vae_scale_factor, self._size_multiple)

    @property
    def _preparation(self) -> JobPreparation:
        return JobPreparation(
            library=self._library,
            unet=self.unet,
            trained_scheduler=self.scheduler,
            distillation=self.distillation,
            prompt_encoder=self._prompt_encoder,
            latent_codec=self._latent_codec,
            sizes=self._sizes,
            mask_cache=self.mask_cache,
            loras=self.loras,
            adaptable_networks=self.adaptable_networks,
        )
