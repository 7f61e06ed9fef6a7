"""The Riffusion pipeline: prompts, seeds and an image in; an image out."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

import torch
from diffusers import AutoencoderKL, DiffusionPipeline, ImagePipelineOutput, UNet2DConditionModel
from PIL import Image
from transformers import CLIPTextModel, CLIPTokenizer

from riffusion.checkpoint.loader import Components, load_components
from riffusion.datatypes import CLIP_DURATION_S, InferenceInput
from riffusion.diffusion.conditioning import PromptEncoder, stack_embeddings
from riffusion.diffusion.geometry import LatentGeometry
from riffusion.diffusion.interpolation import lerp, slerp
from riffusion.diffusion.job import DenoisingJob, Inpainting
from riffusion.diffusion.schedulers import new_scheduler, partial_timesteps, set_timesteps
from riffusion.diffusion.vae import LatentCodec, noise_from_seed
from riffusion.errors import InputError
from riffusion.runtime.cache import TensorCache, image_key
from riffusion.runtime.cuda_graphs import BATCH_SIZES, CudaGraphRunner
from riffusion.spectrogram.params import SpectrogramParams

logger = logging.getLogger(__name__)

_EMBEDDING_CACHE_BYTES = 64 * 2**20
"""Some 280 prompts of Stable Diffusion in half precision."""
_LATENT_CACHE_BYTES = 64 * 2**20
_MASK_CACHE_BYTES = 32 * 2**20
"""Some 1,000 images of Stable Diffusion in half precision."""

ProgressCallback = Callable[[int, int], None]
"""Called with (steps done, steps in all) after each step."""


class RiffusionPipeline(DiffusionPipeline):  # type: ignore[misc] # diffusers is untyped
    """A diffusers pipeline that interpolates between two prompts and two seeds over an image.

    It works in three parts, so that a caller can run many jobs through shared UNet calls:
    `prepare` turns a request into a `DenoisingJob`, `step` advances any number of jobs by one
    UNet call, `decode` turns finished jobs into images. Calling the pipeline does all three for
    one request. Nothing of a job lives in the pipeline.

    Args:
        vae, text_encoder, tokenizer, unet, scheduler: components of a Stable Diffusion
            checkpoint. Scale factors, latent channels and prediction type are read from them.
        safety_checker, feature_extractor, image_encoder: accepted so that another pipeline's
            components can be passed on; unused. A safety checker trained on photographs blanks
            harmless spectrograms.
        spectrogram_params: how the checkpoint's images sound; upstream's defaults if None.
    """

    _optional_components = ["safety_checker", "feature_extractor", "image_encoder"]  # noqa: RUF012

    def __init__(
        self,
        vae: AutoencoderKL,
        text_encoder: CLIPTextModel,
        tokenizer: CLIPTokenizer,
        unet: UNet2DConditionModel,
        scheduler: Any,
        safety_checker: Any = None,
        feature_extractor: Any = None,
        image_encoder: Any = None,
        spectrogram_params: SpectrogramParams | None = None,
    ) -> None:
        super().__init__()
        self.register_modules(
            vae=vae,
            text_encoder=text_encoder,
            tokenizer=tokenizer,
            unet=unet,
            scheduler=scheduler,
            safety_checker=safety_checker,
            feature_extractor=feature_extractor,
            image_encoder=image_encoder,
        )
        self.spectrogram_params = spectrogram_params or SpectrogramParams()
        self.checkpoint: Components | None = None
        self.vae_scale_factor = 2 ** (len(vae.config.block_out_channels) - 1)
        self._size_multiple = self.vae_scale_factor * 2 ** (len(unet.config.block_out_channels) - 1)
        self.embedding_cache = TensorCache(_EMBEDDING_CACHE_BYTES)
        self.latent_cache = TensorCache(_LATENT_CACHE_BYTES)
        self.mask_cache = TensorCache(_MASK_CACHE_BYTES)
        self._run_unet = CudaGraphRunner()
        self._conditioner = PromptEncoder(tokenizer, text_encoder, self.embedding_cache)

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | Path | None = None,
        *,
        device: str | torch.device | None = None,
        torch_dtype: torch.dtype | None = None,
        revision: str | None = None,
        local_files_only: bool = False,
        **others: Any,
    ) -> RiffusionPipeline:
        """Load a checkpoint.

        Args:
            pretrained_model_name_or_path: a diffusers folder, a single file, or a hub id; None for
                the default (`RIFFUSION_CHECKPOINT`, the Truss weights mount, the embedded one).
            device: see `select_device`.
            torch_dtype: None for half precision on CUDA and single precision elsewhere.
            revision: of a hub id; a commit hash pins it.
            local_files_only: don't ask the hub.
            others: what else diffusers takes, such as `safety_checker` and `low_cpu_mem_usage`;
                accepted for scripts that pass it, and not needed.

        Raises:
            CheckpointError: the checkpoint is missing, truncated or foreign.
        """
        if others:
            logger.info("loading without %s, which are not needed", ", ".join(others))
        path = pretrained_model_name_or_path
        components = load_components(
            None if path is None else str(path),
            device=None if device is None else str(device),
            dtype=torch_dtype,
            revision=revision,
            local_files_only=local_files_only,
        )
        pipeline = cls(
            vae=components.vae,
            text_encoder=components.text_encoder,
            tokenizer=components.tokenizer,
            unet=components.unet,
            scheduler=components.scheduler,
            spectrogram_params=components.spectrogram_params,
        )
        pipeline.checkpoint = components
        return pipeline

    def save_pretrained(self, save_directory: str | Path, **options: Any) -> None:
        """Write a diffusers folder, the spectrogram parameters included.

        Args:
            save_directory: where to.
            options: as in diffusers.
        """
        super().save_pretrained(save_directory, **options)
        self.spectrogram_params.save(Path(save_directory))

    @classmethod
    def load_checkpoint(
        cls,
        checkpoint: str,
        use_traced_unet: bool = True,
        channels_last: bool = False,
        dtype: torch.dtype = torch.float16,
        device: str = "cuda",
        local_files_only: bool = False,
        low_cpu_mem_usage: bool = False,
    ) -> RiffusionPipeline:
        """Load a checkpoint, with upstream's name and arguments.

        The traced UNet and `low_cpu_mem_usage` of upstream are accepted and not needed here.
        """
        del use_traced_unet, low_cpu_mem_usage
        pipeline = cls.from_pretrained(checkpoint, device=device, local_files_only=local_files_only)
        if pipeline.device.type == "cuda":
            pipeline.to(dtype)
        if channels_last:
            pipeline.unet.to(memory_format=torch.channels_last)
        return pipeline

    def __call__(
        self,
        inputs: InferenceInput,
        init_image: Image.Image | None = None,
        mask_image: Image.Image | None = None,
        on_progress: ProgressCallback | None = None,
    ) -> ImagePipelineOutput:
        """Run one request; see `prepare` for the arguments.

        Args:
            on_progress: called after every step.
        """
        job = self.prepare(inputs, init_image, mask_image)
        while not job.is_done:
            self.step([job])
            if on_progress is not None:
                on_progress(job.steps_done, job.num_steps)
        return ImagePipelineOutput(images=self.decode([job]))

    def riffuse(
        self,
        inputs: InferenceInput,
        init_image: Image.Image | None = None,
        mask_image: Image.Image | None = None,
        use_reweighting: bool = True,
    ) -> Image.Image:
        """Run one request, with upstream's name and arguments.

        Args:
            use_reweighting: False reads brackets in prompts as text.
        """
        job = self.prepare(inputs, init_image, mask_image, weighted_prompts=use_reweighting)
        while not job.is_done:
            self.step([job])
        return self.decode([job])[0]

    @torch.inference_mode()
    def embed_text(self, text: str) -> torch.Tensor:
        """Embedding of a prompt whose brackets are text, (1, tokens, width)."""
        return self._conditioner.embed([text], weighted=False)[0]

    @torch.inference_mode()
    def embed_text_weighted(self, text: str) -> torch.Tensor:
        """Embedding of a prompt whose brackets are weights, (1, tokens, width)."""
        return self._conditioner.embed([text])[0]

    @torch.inference_mode()
    def prepare(
        self,
        inputs: InferenceInput,
        init_image: Image.Image | None = None,
        mask_image: Image.Image | None = None,
        weighted_prompts: bool = True,
    ) -> DenoisingJob:
        """Turn a request into a job.

        Args:
            inputs: prompts, seeds and strengths; image ids and inline media are the caller's.
            init_image: the image to paint over, any size; None paints from noise, as
                `mode="txt2img"` always does.
            mask_image: white is repainted, black is kept; stretched to the init image.
            weighted_prompts: whether brackets in prompts are weights.

        Raises:
            InputError: there is a mask and nothing to keep, or a prompt weight is out of range.
        """
        start, end, alpha = inputs.start, inputs.end, inputs.alpha
        if inputs.mode == "txt2img":
            init_image = None
        if mask_image is not None and init_image is None:
            raise InputError("a mask needs an init image whose black parts are kept", "mask_image")
        grid = self._grid(inputs, init_image)

        guidance = lerp(start.guidance, end.guidance, alpha)
        prompts = [start.prompt, end.prompt]
        if guidance > 1.0:
            prompts += [start.negative_prompt or "", end.negative_prompt or ""]
        embedded = self._conditioner.embed(prompts, weighted=weighted_prompts)
        rows = [torch.lerp(a, b, alpha) for a, b in zip(embedded[::2], embedded[1::2], strict=True)]

        scheduler = new_scheduler(inputs.scheduler, self.scheduler)
        set_timesteps(scheduler, inputs.num_inference_steps)
        timesteps = scheduler.timesteps.cpu()
        noise = slerp(alpha, self._noise(start.seed, grid), self._noise(end.seed, grid))
        inpainting = None
        if init_image is None:
            latents = noise * scheduler.init_noise_sigma
        else:
            strength = lerp(start.denoising, end.denoising, alpha)
            timesteps = partial_timesteps(scheduler, inputs.num_inference_steps, strength)
            init_latents = self._latent_codec.encode(init_image, grid, start.seed)
            latents = init_latents
            if len(timesteps) > 0:
                latents = scheduler.add_noise(init_latents, noise, timesteps[:1])
            if mask_image is not None:
                repaint_pixels, repaint = self._repaint(mask_image, grid)
                inpainting = Inpainting(init_image, init_latents, noise, repaint, repaint_pixels)
        return DenoisingJob(
            grid=grid,
            latents=latents,
            timesteps=timesteps,
            scheduler=scheduler,
            embeddings=torch.cat(rows[::-1]),
            guidance=guidance,
            guidance_interval=inputs.guidance_interval,
            generator=torch.Generator("cpu").manual_seed(start.seed),
            inpainting=inpainting,
        )

    @torch.inference_mode()
    def step(self, jobs: Sequence[DenoisingJob]) -> None:
        """Advance each unfinished job by one step; jobs of one shape share one UNet call."""
        groups: dict[torch.Size, list[DenoisingJob]] = {}
        for job in jobs:
            if not job.is_done:
                groups.setdefault(job.shape, []).append(job)
        for group in groups.values():
            for job, prediction in zip(group, self.predict(group), strict=True):
                job.advance(prediction)

    @torch.inference_mode()
    def predict(self, jobs: Sequence[DenoisingJob]) -> list[torch.Tensor]:
        """The UNet's outputs for the next step of each job, in one call. It can be repeated.

        Args:
            jobs: of one shape, none of them done.
        """
        num_rows = [job.num_rows for job in jobs]
        steps = torch.stack([job.timestep for job in jobs])
        embeddings, mask = stack_embeddings([job.unet_embeddings() for job in jobs])
        predictions = self._run_unet(
            self.unet,
            torch.cat([job.unet_rows() for job in jobs]),
            steps.float().repeat_interleave(torch.tensor(num_rows)).to(self.unet.device),
            embeddings,
            mask,
        )
        return list(torch.split(predictions, num_rows))

    @torch.inference_mode()
    def decode(self, jobs: Sequence[DenoisingJob]) -> list[Image.Image]:
        """Images of finished jobs; those of one shape are decoded together."""
        images: dict[int, Image.Image] = {}
        groups: dict[torch.Size, list[int]] = {}
        for index, job in enumerate(jobs):
            groups.setdefault(job.latents.shape, []).append(index)
        for indices in groups.values():
            latents = torch.cat([jobs[index].latents for index in indices])
            pixels = self._latent_codec.decode(latents)
            for index, decoded in zip(indices, pixels, strict=True):
                images[index] = jobs[index].finish(decoded)
        return [images[index] for index in range(len(jobs))]

    @torch.inference_mode()
    def warm_up(self, batch_sizes: Sequence[int] = BATCH_SIZES) -> None:
        """Record the UNet's calls for usual clips on CUDA, and decode one of each size.

        Args:
            batch_sizes: rows; guided jobs have two each.
        """
        grid = self._usual_grid()
        noise, embedding = self._noise(0, grid), self.embed_text("")
        for size in batch_sizes:
            rows = noise.expand(size, -1, -1, -1)
            timesteps = torch.zeros(size, device=self.unet.device)
            embeddings = embedding.expand(size, -1, -1)
            self._run_unet.record(self.unet, rows, timesteps, embeddings)
            self._run_unet(self.unet, rows, timesteps, embeddings)
            if size <= max(batch_sizes) // 2:
                self._latent_codec.decode(rows)

    def relative_length(self, latent_shape: torch.Size) -> float:
        """How many usual clips an image is as large as, at least 1."""
        width, height = self._usual_grid().latent_size
        return max(1.0, latent_shape[-2] * latent_shape[-1] / (width * height))

    def to(self, *args: Any, **options: Any) -> Self:
        """Move or convert the networks; see diffusers."""
        self._run_unet.forget()
        moved: Self = super().to(*args, **options)
        return moved

    @property
    def _latent_codec(self) -> LatentCodec:
        """Of the VAE that is there now: scripts exchange components."""
        return LatentCodec(self.vae, self.latent_cache)

    def _usual_grid(self) -> LatentGeometry:
        columns = round(CLIP_DURATION_S * 1000 / self.spectrogram_params.step_size_ms)
        height = self.spectrogram_params.num_frequencies
        return LatentGeometry(columns, height, self.vae_scale_factor, self._size_multiple)

    def _grid(self, inputs: InferenceInput, init_image: Image.Image | None) -> LatentGeometry:
        if init_image is not None:
            width, height = init_image.size
        else:
            step_s = self.spectrogram_params.step_size_ms / 1000
            width = max(1, round((inputs.duration_s or CLIP_DURATION_S) / step_s))
            height = self.spectrogram_params.num_frequencies
        return LatentGeometry(width, height, self.vae_scale_factor, self._size_multiple)

    def _noise(self, seed: int, grid: LatentGeometry) -> torch.Tensor:
        """Noise as the UNet takes it."""
        noise = noise_from_seed(seed, grid, self.unet.config.in_channels)
        return noise.to(self.unet.device, self.unet.dtype)

    def _repaint(self, mask: Image.Image, grid: LatentGeometry) -> tuple[torch.Tensor, ...]:
        """How much of each pixel and of each latent is repainted."""

        def make() -> tuple[torch.Tensor, ...]:
            pixels = grid.repaint_from_mask(mask)
            latents = grid.latents_from_repaint(pixels)
            return pixels, latents.to(self.unet.device, self.unet.dtype)

        key = (image_key(mask), grid, self.unet.device, self.unet.dtype)
        return self.mask_cache.get(key, make)
