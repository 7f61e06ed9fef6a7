"""The Riffusion pipeline: from prompts, seeds and an image to an image.

InferenceInput ─▶ prepare ─▶ DenoisingJob ─▶ step, until done ─▶ decode ─▶ image
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import AbstractContextManager
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
from riffusion.diffusion.batching import group_by_tokens, split_predictions, stack_jobs
from riffusion.diffusion.conditioning import PromptEncoder
from riffusion.diffusion.guidance_embedding import guidance_width
from riffusion.diffusion.job import UNetRows
from riffusion.diffusion.stages import PipelineStages, ProgressCallback
from riffusion.diffusion.torch_networks import TorchAutoencoder, TorchLibrary, TorchTextEncoder
from riffusion.diffusion.vae import LatentCodec
from riffusion.runtime.cuda_graphs import BATCH_SIZES, CudaGraphRunner
from riffusion.spectrogram.params import SpectrogramParams

__all__ = ["DECODE_SIZES", "ProgressCallback", "RiffusionPipeline"]

logger = logging.getLogger(__name__)

DECODE_SIZES = (4, 3, 2, 1)
"""Images that are decoded together on CUDA, so that each size's kernels are chosen in advance. More
together are hardly faster, and each takes about 0.4 GiB in half precision."""


class RiffusionPipeline(PipelineStages, DiffusionPipeline):  # type: ignore[misc] # diffusers is untyped
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
        self.unet_graphs = CudaGraphRunner()
        self._make_caches()

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
    def warm_up(self, batch_sizes: Sequence[int] = BATCH_SIZES) -> None:
        """Run everything that clips of the usual length run, in each batch size.

        Libraries choose their kernels at the first call of a shape, for each thread anew. So this
        has to run in the thread that makes the clips: `Engine.warm_up`. On CUDA the UNet's calls
        are recorded as CUDA graphs. The largest comes first, so that the others fit its memory.

        Args:
            batch_sizes: numbers of rows; a guided job has two rows.
        """
        geometry = self._sizes.of_clip()
        blank = Image.new("RGB", (geometry.width, geometry.height))
        self._latent_codec.encode(blank, geometry, self.numbers(0))
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

    @property
    def adaptable_networks(self) -> dict[str, Any]:
        """The networks that LoRAs can change."""
        return {"unet": self.unet, "text_encoder": self.text_encoder}

    @property
    def distillation(self) -> Distillation | None:
        """What the checkpoint can do if it is distilled, else None."""
        is_distilled = guidance_width(self.unet) is not None
        return (self._distillation or PUBLISHED) if is_distilled else None

    def to(self, *args: Any, **options: Any) -> Self:
        """Move or convert the networks; see diffusers."""
        self.unet_graphs.forget()
        moved: Self = super().to(*args, **options)
        return moved

    # The components are read at each call, as scripts replace them on a pipeline.

    @property
    def _library(self) -> TorchLibrary:
        return TorchLibrary(self.unet.device)

    @property
    def _prompt_encoder(self) -> PromptEncoder:
        encoder = TorchTextEncoder(self.text_encoder)
        return PromptEncoder(self.tokenizer, encoder, self.embedding_cache)

    @property
    def _latent_codec(self) -> LatentCodec:
        return LatentCodec(TorchAutoencoder(self.vae), self.latent_cache)

    def _computing(self) -> AbstractContextManager[Any]:
        return torch.inference_mode()
