"""Images of the same seed, before and after weights were rounded.

Differences of single outputs say little about clips: a sampler adds them up over its steps. So the
images that the whole pipeline draws are compared, by their peak signal-to-noise ratio (PSNR).
Unrelated clips of the embedded checkpoint have 15 dB; from 30 dB on, clips sound alike.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from riffusion.checkpoint.files import WEIGHT_STEMS
from riffusion.checkpoint.loader import Components
from riffusion.datatypes import InferenceInput
from riffusion.diffusion import RiffusionPipeline
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
"""What is drawn; each with a seed of its own."""


def draw(components: Components, num_images: int) -> list[Pixels]:
    """Draw images from noise, with the preset `fast`; `instant` where only that is possible.

    Args:
        components: a loaded checkpoint.
        num_images: up to the number of `PROMPTS`.
    """
    pipeline = RiffusionPipeline(
        **{part: getattr(components, part) for part in WEIGHT_STEMS},
        tokenizer=components.tokenizer,
        scheduler=components.scheduler,
        spectrogram_params=components.spectrogram_params,
        distillation=components.distillation,
    )
    distillation = pipeline.distillation
    preset = "fast" if distillation is None or distillation.guided_sampling else "instant"
    drawn = []
    for seed, prompt in enumerate(PROMPTS[:num_images]):
        inputs = InferenceInput.parse(
            {"start": {"prompt": prompt, "seed": seed}, "mode": "txt2img", "preset": preset}
        )
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


def check(psnr_db: float, precision: str) -> None:
    """Check that rounding kept the images.

    Raises:
        CheckpointError: an image has less than `MIN_PSNR_DB`.
    """
    if not psnr_db >= MIN_PSNR_DB:
        raise CheckpointError(
            f"{precision} weights change images to {psnr_db:.1f} dB of PSNR, and at least "
            f"{MIN_PSNR_DB:g} dB are needed; nothing was written, use --precision fp16"
        )
