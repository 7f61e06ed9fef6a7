"""The Riffusion pipeline without PyTorch: the same stages, with networks that onnxruntime runs."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
from PIL import Image

from riffusion.checkpoint.distillation import Distillation, read_distillation
from riffusion.checkpoint.files import INDEX_NAME, SCHEDULER_NAME
from riffusion.checkpoint.manifest import MANIFEST_NAME, PARTS, Manifest, is_exported, read_manifest
from riffusion.checkpoint.source import CheckpointSource, find_checkpoint
from riffusion.datatypes import InferenceInput
from riffusion.diffusion.batching import UNetBatch, split_predictions, stack_jobs
from riffusion.diffusion.conditioning import PromptEncoder
from riffusion.diffusion.job import UNetRows
from riffusion.diffusion.networks import NumpyLibrary
from riffusion.diffusion.scheduler_config import SchedulerConfig
from riffusion.diffusion.stages import PipelineStages, ProgressCallback
from riffusion.diffusion.vae import LatentCodec
from riffusion.errors import CheckpointError, InputError, SpectrogramParamsError
from riffusion.io.bundle import how_to_use_torch
from riffusion.light.agreement import check_shape
from riffusion.light.networks import OnnxAutoencoder, OnnxTextEncoder, OnnxUNet
from riffusion.light.sessions import Session
from riffusion.light.tokenizer import LightTokenizer
from riffusion.spectrogram.image import FloatArray
from riffusion.spectrogram.params import SpectrogramParams

logger = logging.getLogger(__name__)


class Device(NamedTuple):
    """Where onnxruntime computes, with the names of `torch.device`."""

    type: str = "cpu"

    def __str__(self) -> str:
        return self.type


@dataclass(frozen=True)
class LightCheckpoint:
    """An exported folder that was loaded.

    Args:
        source: which setting named it.
        directory: the folder.
        manifest: its manifest.
        distillation: what a distilled checkpoint can do; None for others.
    """

    source: CheckpointSource
    directory: Path
    manifest: Manifest
    distillation: Distillation | None

    @property
    def description(self) -> str:
        """One line: checkpoint, origin, runtime and precision."""
        return (
            f"{self.directory.resolve().name} ({self.source.origin}) on cpu by onnxruntime, "
            f"weights in {self.manifest.precision}"
        )


class LightPipeline(PipelineStages):
    """`RiffusionPipeline` for exported checkpoints; LoRAs and some schedulers need PyTorch.

    Attributes:
        checkpoint: what was loaded.
        device: the CPU.
        unet: the UNet.
    """

    device = Device()

    def __init__(
        self,
        checkpoint: LightCheckpoint,
        text_encoder: OnnxTextEncoder,
        tokenizer: LightTokenizer,
        unet: OnnxUNet,
        vae: OnnxAutoencoder,
        scheduler: SchedulerConfig,
        spectrogram_params: SpectrogramParams,
    ) -> None:
        self.checkpoint = checkpoint
        self.text_encoder, self.tokenizer = text_encoder, tokenizer
        self.unet, self.vae, self.scheduler = unet, vae, scheduler
        self.spectrogram_params = spectrogram_params
        shape = checkpoint.manifest.shape
        self.vae_scale_factor, self._size_multiple = shape.pixels_per_latent, shape.size_multiple
        self._make_caches()

    @classmethod
    def from_pretrained(
        cls,
        checkpoint: str | os.PathLike[str] | None = None,
        *,
        hashes: bool | None = None,
    ) -> Self:
        """Load an exported checkpoint.

        Args:
            checkpoint: a folder that `riffusion export` wrote; None for the default checkpoint,
                see `find_checkpoint`.
            hashes: whether to compare the files' contents with the manifest; None for those of the
                smallest, as `read_manifest` says.

        Raises:
            CheckpointError: the folder isn't exported, or a file is missing or damaged.
            InputError: onnxruntime isn't installed.
        """
        source = find_checkpoint(checkpoint)
        folder = _exported_folder(source)
        manifest = read_manifest(folder, hashes=hashes)
        shape = manifest.shape
        distillation = read_distillation(folder, {"time_cond_proj_dim": shape.guidance_width})
        loaded = LightCheckpoint(source, folder, manifest, distillation)
        tokenizer = LightTokenizer(folder / "tokenizer", shape)
        scheduler = SchedulerConfig.read(folder / SCHEDULER_NAME)
        params = _spectrogram_params(folder)
        text_encoder, unet, encoder, decoder = (
            Session(manifest.graph_path(folder, part)) for part in PARTS
        )
        for session in (text_encoder, unet, decoder):  # most clips need no encoder
            session.open()
        check_shape(folder, shape, tokenizer, text_encoder, unet, decoder)
        logger.info("loaded checkpoint %s from %s", loaded.description, folder)
        return cls(
            loaded,
            OnnxTextEncoder(text_encoder),
            tokenizer,
            OnnxUNet(unet, shape.latent_channels, shape.guidance_width),
            OnnxAutoencoder(encoder, decoder, shape.pixels_per_latent),
            scheduler,
            params,
        )

    def __call__(
        self,
        inputs: InferenceInput,
        init_image: Image.Image | None = None,
        mask_image: Image.Image | None = None,
        on_progress: ProgressCallback | None = None,
    ) -> Image.Image:
        """Run one request; see `prepare` for the arguments.

        Args:
            on_progress: called after every step.
        """
        return self._finish(self.prepare(inputs, init_image, mask_image), on_progress)

    @property
    def distillation(self) -> Distillation | None:
        """What the checkpoint can do if it is distilled, else None."""
        found: Distillation | None = self.checkpoint.distillation
        return found

    @property
    def adaptable_networks(self) -> dict[str, Any]:
        """The networks that LoRAs can change: none."""
        return {}

    def check_loras(self, inputs: InferenceInput) -> None:
        """Check that a request names no LoRAs.

        Raises:
            InputError: it does.
        """
        if inputs.loras:
            raise InputError(
                f"they need PyTorch, which changes weights; {how_to_use_torch()}", "loras"
            )

    def predict(self, jobs: Sequence[UNetRows]) -> list[FloatArray]:
        """The UNet's outputs for the next step of each job, in one call. Changes no job.

        Args:
            jobs: unfinished jobs of one shape.
        """
        return split_predictions(self.unet(stack_jobs(jobs, self.unet)), jobs)

    def warm_up(self, batch_sizes: Sequence[int] = (1,)) -> None:
        """Run each network once on a clip of the usual length, the UNet in each number of rows."""
        geometry = self._sizes.of_clip()
        noise = self._preparation.noise(0, geometry)
        width, embedding = self.unet.config.time_cond_proj_dim, self.embed_text("")
        for rows in batch_sizes:
            cond = None if width is None else np.zeros((rows, width), np.float32)
            timesteps = np.zeros(rows, np.float32)
            batch = (noise.repeat(rows, 0), timesteps, embedding.repeat(rows, 0), None, cond)
            self.unet(UNetBatch(*batch))
        self.vae.decode(noise)

    @property
    def _library(self) -> NumpyLibrary:
        return NumpyLibrary()

    @property
    def _prompt_encoder(self) -> PromptEncoder:
        return PromptEncoder(self.tokenizer, self.text_encoder, self.embedding_cache)

    @property
    def _latent_codec(self) -> LatentCodec:
        return LatentCodec(self.vae, self.latent_cache)

    def _computing(self) -> AbstractContextManager[Any]:
        return nullcontext()


def _exported_folder(source: CheckpointSource) -> Path:
    """The folder of an exported checkpoint.

    Raises:
        CheckpointError: the source is another kind of checkpoint, or none.
    """
    name = source.location
    if source.kind == "folder" and is_exported(Path(name)):
        return Path(name)
    if source.kind == "hub":
        raise CheckpointError(
            f"{source} is no folder here, and onnxruntime can't run checkpoints of the Hugging "
            f"Face hub; name a folder that `riffusion export` wrote, or {how_to_use_torch()}"
        )
    if source.kind == "folder" and not (Path(name) / INDEX_NAME).is_file():
        raise CheckpointError(
            f"{source} is no checkpoint: it has neither {MANIFEST_NAME} nor {INDEX_NAME}; name a "
            "folder that `riffusion export` wrote"
        )
    raise CheckpointError(
        f"{source} is not exported, so onnxruntime can't run it; export it with `riffusion export "
        f"{name} -o FOLDER` and name that folder, or {how_to_use_torch()}"
    )


def _spectrogram_params(folder: Path) -> SpectrogramParams:
    try:
        return SpectrogramParams.load(folder)
    except SpectrogramParamsError as error:
        raise CheckpointError(f"{error}; fix the file, or remove it to use the defaults") from error
