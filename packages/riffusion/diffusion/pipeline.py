"""The Riffusion pipeline: from prompts, seeds and an image to an image.

InferenceInput ─▶ prepare ─▶ DenoisingJob ─▶ step, until done ─▶ decode ─▶ image
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

import torch
from diffusers import DiffusionPipeline, ImagePipelineOutput, UNet2DConditionModel
from PIL import Image
from transformers import CLIPTextModel, CLIPTokenizer

from riffusion.checkpoint.autoencoders import Autoencoder, downsampling_factor
from riffusion.checkpoint.distillation import PUBLISHED, Distillation
from riffusion.checkpoint.loader import Components, load_components
from riffusion.datatypes import InferenceInput
from riffusion.diffusion.batching import (
    group_by_call,
    group_by_shape,
    group_by_tokens,
    split_predictions,
    stack_jobs,
)
from riffusion.diffusion.canvas import Canvas, CanvasPlan
from riffusion.diffusion.conditioning import PromptEncoder
from riffusion.diffusion.distilled_sampling import check_sampling
from riffusion.diffusion.guidance_embedding import guidance_width
from riffusion.diffusion.job import DenoisingJob, UNetRows
from riffusion.diffusion.loras import LoraLibrary
from riffusion.diffusion.magic_mix import MagicMix
from riffusion.diffusion.preparation import ImageSizes, JobPreparation
from riffusion.diffusion.vae import LatentCodec
from riffusion.runtime.cache import TensorCache
from riffusion.runtime.cuda_graphs import BATCH_SIZES, CudaGraphRunner
from riffusion.spectrogram.params import SpectrogramParams

logger = logging.getLogger(__name__)

_EMBEDDING_CACHE_BYTES = 64 * 2**20
"""About 280 prompts of Stable Diffusion in half precision."""
_LATENT_CACHE_BYTES = 64 * 2**20
"""About 1,000 images of Stable Diffusion in half precision."""
_MASK_CACHE_BYTES = 32 * 2**20
"""About 30 masks of clips of the usual length."""

DECODE_SIZES = (4, 3, 2, 1)
"""Images that are decoded together on CUDA, so that each size's kernels are chosen in advance. More
together are hardly faster, and each takes about 0.4 GiB in half precision."""

ProgressCallback = Callable[[int, int], None]
"""Called after each step with (steps done, number of steps)."""


class RiffusionPipeline(DiffusionPipeline):  # type: ignore[misc] # diffusers is untyped
    """A diffusers pipeline that interpolates between two prompts and two seeds over an image.

    It has three stages, so that many jobs can share UNet calls: `prepare` turns a request into a
    `DenoisingJob`, `step` advances any number of jobs by one step, `decode` turns finished jobs
    into images. Calling the pipeline runs all three for one request. The pipeline itself holds no
    state of a job.

    Args:
        vae, text_encoder, tokenizer, unet, scheduler: components of a Stable Diffusion
            checkpoint. Scale factors, latent channels and prediction type are read from them.
        safety_checker, feature_extractor, image_encoder: unused; accepted so that another
            pipeline's components can be passed. A safety checker trained on photographs blanks
            harmless spectrograms.
        spectrogram_params: parameters of the checkpoint's images; upstream's defaults if None.
        distillation: what a distilled checkpoint can do. It counts only if the UNet takes the
            guidance as an embedding; None then stands for what published ones can do.

    Attributes:
        checkpoint: where the components were loaded from; None if they were passed in.
        embedding_cache, latent_cache, mask_cache: results that requests share.
        unet_graphs: CUDA graphs of the UNet's calls, and how many calls used one.
        loras: the LoRAs that requests can name; none at first.
    """

    _optional_components = ["safety_checker", "feature_extractor", "image_encoder"]  # noqa: RUF012

    def __init__(
        self,
        vae: Autoencoder,
        text_encoder: CLIPTextModel,
        tokenizer: CLIPTokenizer,
        unet: UNet2DConditionModel,
        scheduler: Any,
        safety_checker: Any = None,
        feature_extractor: Any = None,
        image_encoder: Any = None,
        spectrogram_params: SpectrogramParams | None = None,
        distillation: Distillation | None = None,
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
        self._distillation = distillation
        self.checkpoint: Components | None = None
        self.vae_scale_factor = downsampling_factor(vae)
        self._size_multiple = self.vae_scale_factor * 2 ** (len(unet.config.block_out_channels) - 1)
        self.embedding_cache = TensorCache(_EMBEDDING_CACHE_BYTES)
        self.latent_cache = TensorCache(_LATENT_CACHE_BYTES)
        self.mask_cache = TensorCache(_MASK_CACHE_BYTES)
        self.unet_graphs = CudaGraphRunner()
        self.loras = LoraLibrary()

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
            revision: commit, tag or branch of a hub id; a commit pins it.
            local_files_only: use the local cache only.
            others: diffusers' other options, such as `safety_checker` and `low_cpu_mem_usage`;
                accepted for existing scripts, and ignored.

        Raises:
            CheckpointError: the checkpoint is missing, truncated or foreign.
        """
        if others:
            logger.info("ignoring %s, which are not needed", ", ".join(others))
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
            distillation=components.distillation,
        )
        pipeline.checkpoint = components
        return pipeline

    def save_pretrained(self, save_directory: str | Path, **options: Any) -> None:
        """Write a diffusers folder, including our files beside diffusers' own.

        Args:
            save_directory: folder to write.
            options: see diffusers.
        """
        super().save_pretrained(save_directory, **options)
        self.spectrogram_params.save(Path(save_directory))
        if self._distillation is not None:
            self._distillation.save(Path(save_directory))

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
        """Upstream's method: load a checkpoint.

        Upstream's `use_traced_unet` and `low_cpu_mem_usage` are accepted and ignored.
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
        return ImagePipelineOutput(images=[self._finish(job, on_progress)])

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

    @torch.inference_mode()
    def embed_text(self, text: str) -> torch.Tensor:
        """Upstream's method: embed a prompt with brackets as text, (1, tokens, width)."""
        return self._prompt_encoder.embed([text], weighted=False)[0]

    @torch.inference_mode()
    def embed_text_weighted(self, text: str) -> torch.Tensor:
        """Upstream's method: embed a prompt with brackets as weights, (1, tokens, width)."""
        return self._prompt_encoder.embed([text])[0]

    @torch.inference_mode()
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
        return self._preparation.prepare(inputs, init_image, mask_image, weighted_prompts, mix)

    @torch.inference_mode()
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
        return self._preparation.prepare_canvas(inputs, plan)

    @torch.inference_mode()
    def encode_pixels(self, pixels: torch.Tensor) -> torch.Tensor:
        """Latents of a grey image of any width, without an image's rounding to 8 bits.

        Args:
            pixels: (`padded_height`, width) in [-1, 1]; the width is a multiple of
                `vae_scale_factor`.

        Returns:
            (1, channels, height, columns) float32 on the pipeline's device; the most likely ones.
        """
        return self._latent_codec.encode_pixels(pixels.expand(1, 3, -1, -1))

    @torch.inference_mode()
    def decode_latents(self, latents: torch.Tensor) -> torch.Tensor:
        """The inverse of `encode_pixels`: the mean of the colours, about in [-1, 1]."""
        return self._latent_codec.decode(latents).float().mean(1)[0]

    @property
    def clip_columns(self) -> int:
        """Columns of the latents of a clip of the usual length."""
        return self._sizes.of_clip().latent_size[0]

    @property
    def padded_height(self) -> int:
        """Height of the images that the networks see."""
        return self._sizes.of_clip().padded_size[1]

    @torch.inference_mode()
    def step(self, jobs: Sequence[DenoisingJob]) -> None:
        """Advance each unfinished job by one step; jobs of one shape share one UNet call.

        Their LoRAs have to be the same, too.
        """
        unfinished = [job for job in jobs if not job.is_done]
        for indices in group_by_call(unfinished):
            group = [unfinished[index] for index in indices]
            for job, prediction in zip(group, self.predict(group), strict=True):
                job.advance(prediction)

    @torch.inference_mode()
    def predict(self, jobs: Sequence[UNetRows]) -> list[torch.Tensor]:
        """The UNet's outputs for the next step of each job, in one call. Changes no job.

        Args:
            jobs: unfinished jobs of one shape, with the same LoRAs.
        """
        if self.unet_graphs.num_recorded == 0:
            return self._predict_together(jobs)
        # A graph takes no attention mask, so jobs with longer prompts have a call of their own.
        predictions: dict[int, torch.Tensor] = {}
        for indices in group_by_tokens(jobs):
            found = self._predict_together([jobs[index] for index in indices])
            predictions.update(zip(indices, found, strict=True))
        return [predictions[index] for index in range(len(jobs))]

    def _predict_together(self, jobs: Sequence[UNetRows]) -> list[torch.Tensor]:
        weights = jobs[0].loras.weights("unet", self.unet)
        batch = stack_jobs(jobs, self.unet)
        return split_predictions(self.unet_graphs(self.unet, *batch, weights), jobs)

    @torch.inference_mode()
    def decode(self, jobs: Sequence[DenoisingJob]) -> list[Image.Image]:
        """Images of finished jobs; those of one shape are decoded together."""
        images: dict[int, Image.Image] = {}
        for indices in group_by_shape(jobs):
            latents = torch.cat([jobs[index].latents for index in indices])
            pixels = self._latent_codec.decode(latents)
            for index, decoded in zip(indices, pixels, strict=True):
                images[index] = jobs[index].finish(decoded)
        return [images[index] for index in range(len(jobs))]

    @torch.inference_mode()
    def warm_up(self, batch_sizes: Sequence[int] = BATCH_SIZES) -> None:
        """Run everything that clips of the usual length run, in each batch size.

        Libraries choose their kernels at the first call of a shape, for each thread anew. So this
        has to run in the thread that makes the clips: `Engine.warm_up`. On CUDA the UNet's calls
        are recorded as CUDA graphs. The largest comes first, so that the others fit its memory.

        Args:
            batch_sizes: numbers of rows; a guided job has two rows.
        """
        geometry = self._sizes.of_clip()
        self._latent_codec.encode(Image.new("RGB", (geometry.width, geometry.height)), geometry, 0)
        noise = self._preparation.noise(0, geometry)
        embedding = self.embed_text("")
        for size in sorted(batch_sizes, reverse=True):
            rows = noise.to(self.unet.dtype).expand(size, -1, -1, -1)
            timesteps = torch.zeros(size, device=self.unet.device)
            embeddings = embedding.expand(size, -1, -1)
            cond = self._no_guidance(size)
            if self.device.type == "cuda":
                self.unet_graphs.record(self.unet, rows, timesteps, embeddings, cond)
            self.unet_graphs(self.unet, rows, timesteps, embeddings, None, cond)
        pair = noise.to(self.unet.dtype).expand(2, -1, -1, -1)
        long = embedding.repeat(2, 2, 1)  # a prompt of two chunks, batched with one of one chunk
        mask = torch.ones(long.shape[:2], device=long.device, dtype=long.dtype)
        timesteps, cond = torch.zeros(2, device=pair.device), self._no_guidance(2)
        self.unet_graphs(self.unet, pair, timesteps, long, mask, cond)
        for size in DECODE_SIZES:
            if size <= max(1, max(batch_sizes) // 2):
                self._latent_codec.decode(noise.expand(size, -1, -1, -1))

    def _no_guidance(self, num_rows: int) -> torch.Tensor | None:
        """`timestep_cond` of ordinary rows; None for a UNet that takes none."""
        unet, width = self.unet, guidance_width(self.unet)
        if width is None:
            return None
        return torch.zeros(num_rows, width, device=unet.device, dtype=unet.dtype)

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

    @property
    def adaptable_networks(self) -> dict[str, Any]:
        """The networks that LoRAs can change."""
        return {"unet": self.unet, "text_encoder": self.text_encoder}

    @property
    def distillation(self) -> Distillation | None:
        """What the checkpoint can do if it is distilled, else None."""
        is_distilled = guidance_width(self.unet) is not None
        return (self._distillation or PUBLISHED) if is_distilled else None

    def relative_length(self, latent_shape: torch.Size) -> float:
        """Size of an image relative to that of a clip of the usual length, at least 1.

        Args:
            latent_shape: (1, channels, height, width).
        """
        width, height = self._sizes.of_clip().latent_size
        return max(1.0, latent_shape[-2] * latent_shape[-1] / (width * height))

    def to(self, *args: Any, **options: Any) -> Self:
        """Move or convert the networks; see diffusers."""
        self.unet_graphs.forget()
        moved: Self = super().to(*args, **options)
        return moved

    # The components are read at each call, as scripts replace them on a pipeline.

    @property
    def _prompt_encoder(self) -> PromptEncoder:
        return PromptEncoder(self.tokenizer, self.text_encoder, self.embedding_cache)

    @property
    def _latent_codec(self) -> LatentCodec:
        return LatentCodec(self.vae, self.latent_cache)

    @property
    def _sizes(self) -> ImageSizes:
        return ImageSizes(self.spectrogram_params, self.vae_scale_factor, self._size_multiple)

    @property
    def _preparation(self) -> JobPreparation:
        return JobPreparation(
            unet=self.unet,
            trained_scheduler=self.scheduler,
            distillation=self.distillation,
            prompt_encoder=self._prompt_encoder,
            latent_codec=self._latent_codec,
            sizes=self._sizes,
            mask_cache=self.mask_cache,
            loras=self.loras,
        )
