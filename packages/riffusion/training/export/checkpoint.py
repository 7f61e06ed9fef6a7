"""Writes a trained pipeline as a diffusers folder, in half precision and in small shards."""

import copy
from pathlib import Path

from diffusers import DiffusionPipeline, StableDiffusionPipeline

from riffusion.checkpoint.autoencoders import is_deterministic
from riffusion.checkpoint.distillation import Distillation
from riffusion.checkpoint.files import MAX_SHARD_SIZE
from riffusion.diffusion import RiffusionPipeline
from riffusion.io.folders import replaced_folder
from riffusion.training.networks.tokenizer import save_tokenizer


def write_checkpoint(
    pipeline: RiffusionPipeline, directory: Path, distillation: Distillation | None = None
) -> None:
    """Write a checkpoint that `RiffusionPipeline.from_pretrained` can read.

    Stock diffusers can read it, too, if its autoencoder is an AutoencoderKL, the only class that
    `StableDiffusionPipeline` accepts.

    Args:
        pipeline: not changed; copies of its networks are converted.
        directory: replaced when the new one is complete.
        distillation: what a distilled checkpoint can do; None for others.
    """
    networks = {
        name: copy.deepcopy(getattr(pipeline, name)).cpu().half()
        for name in ("vae", "unet", "text_encoder")
    }
    parts = {**networks, "tokenizer": pipeline.tokenizer, "scheduler": pipeline.scheduler}
    written: DiffusionPipeline
    if is_deterministic(pipeline.vae):
        written = RiffusionPipeline(**parts)
    else:
        written = StableDiffusionPipeline(
            **parts, safety_checker=None, feature_extractor=None, requires_safety_checker=False
        )
    with replaced_folder(directory) as folder:
        written.save_pretrained(folder, max_shard_size=MAX_SHARD_SIZE)
        save_tokenizer(pipeline.tokenizer, folder / "tokenizer")
        pipeline.spectrogram_params.save(folder)
        if distillation is not None:
            distillation.save(folder)
