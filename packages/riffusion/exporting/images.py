"""Images of the same seed, before and after weights were rounded.

Differences of single outputs say little about clips: a sampler adds them up over its steps. So the
images that the whole pipeline draws are compared, by their peak signal-to-noise ratio (PSNR).
Unrelated clips of the embedded checkpoint have 15 dB; from 30 dB on, clips sound alike.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from riffusion.checkpoint.distillation import Distillation
from riffusion.checkpoint.files import WEIGHT_STEMS
from riffusion.checkpoint.loader import Components
from riffusion.datatypes import InferenceInput
from riffusion.diffusion import RiffusionPipeline
from riffusion.diffusion.stages import PipelineStages
from riffusion.errors import CheckpointError

Pixels = npt.NDArray[np.float64]

MIN_PSNR_DB = 30.0
"""Least PSNR of an image to that of the checkpoint's own weights."""
MAX_PSNR_DB = 100.0
"""PSNR of equal images, in place of infinity."""
PROMPTS = (
    "church bells",
    "funky synth bass",
    "solo piano, slow",
    "drum and bass, fast",
    "acoustic guitar, folk",
    "violin, minor key",
    "techno with a hard kick",
    "jazz trumpet",
)
"""What is drawn to measure quality."""


def torch_pipeline(components: Components) -> RiffusionPipeline:
    """The pipeline of loaded networks; changes of their weights change what it draws."""
    return RiffusionPipeline(
        **{part: getattr(components, part) for part in WEIGHT_STEMS},
        tokenizer=components.tokenizer,
        scheduler=components.scheduler,
        spectrogram_params=components.spectrogram_params,
        distillation=components.distillation,
    )


def presets_of(distillation: Distillation | None) -> list[str]:
    """Presets that a checkpoint can be drawn with."""
    guided = ["fast"] if distillation is None or distillation.guided_sampling else []
    return guided if distillation is None else [*guided, "instant"]


def draw(pipeline: PipelineStages, prompts: Sequence[str], first_seed: int = 0) -> list[Pixels]:
    """Draw images from noise: of each prompt, with `fast` and `instant`, as far as both can be.

    Args:
        pipeline: draws them.
        prompts: each has a seed of its own.
        first_seed: seed of the first.
    """
    presets = presets_of(pipeline.distillation)
    drawn = []
    for seed, prompt in enumerate(prompts, first_seed):
        start = {"prompt": prompt, "seed": seed}
        for preset in presets:
            inputs = InferenceInput.parse({"start": start, "mode": "txt2img", "preset": preset})
            image = pipeline.riffuse(inputs, None)
            drawn.append(np.asarray(image.convert("RGB"), dtype=np.float64))
    return drawn


def worst_psnr_db(found: Sequence[Pixels], expected: Sequence[Pixels]) -> float:
    """The least PSNR of a pair of images, in dB."""
    errors = (
        float(np.mean(np.square(ours - theirs)))
        for ours, theirs in zip(found, expected, strict=True)
    )
    worst = max(errors)
    return min(MAX_PSNR_DB, 10 * np.log10(255**2 / worst)) if worst else MAX_PSNR_DB


def check(psnr_db: float, precision: str, instead: str) -> None:
    """Check that rounding kept the images.

    Args:
        psnr_db: the least PSNR of an image.
        precision: how weights were rounded.
        instead: precision that changes less.

    Raises:
        CheckpointError: an image has less than `MIN_PSNR_DB`.
    """
    if not psnr_db >= MIN_PSNR_DB:
        raise CheckpointError(
            f"{precision} changes images to {psnr_db:.1f} dB of PSNR, and at least "
            f"{MIN_PSNR_DB:g} dB are needed; nothing was written, use --precision {instead}"
        )
