"""Sampling of distilled checkpoints: which requests it is used for, and what they may ask for.

A latent consistency model (Luo et al. 2023) jumps from any timestep to the finished latents, adds
the next timestep's noise and jumps again. Its UNet takes the guidance scale as an embedding, so a
step has one row: there is none for the negative prompt.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from riffusion.checkpoint.distillation import Distillation
from riffusion.datatypes import InferenceInput
from riffusion.diffusion.guidance_embedding import guidance_embedding
from riffusion.diffusion.schedulers import choose_timesteps, original_steps, scheduler_class
from riffusion.errors import InputError
from riffusion.spectrogram.image import FloatArray

_ROUNDING = 1e-9
"""Steps × strength above a whole number by less than this is that number."""


def is_sampled_distilled(
    inputs: InferenceInput, distillation: Distillation | None, trained_scheduler: Any
) -> bool:
    """Whether a request is sampled with one row per step that is told the guidance.

    That is so with the scheduler `lcm`. It is the default of a checkpoint that was published with
    it, or that can't be sampled in another way.

    Args:
        inputs: the request.
        distillation: what the checkpoint can do; None if it is not distilled.
        trained_scheduler: the checkpoint's own scheduler.
    """
    if distillation is None:
        return False
    if inputs.scheduler is None:
        is_published_so = scheduler_class(trained_scheduler) == "LCMScheduler"
        return is_published_so or not distillation.guided_sampling
    return inputs.scheduler == "lcm"


def check_sampling(
    inputs: InferenceInput, distillation: Distillation | None, trained_scheduler: Any
) -> None:
    """Check that the checkpoint can be sampled as the request asks for.

    Args:
        inputs, distillation, trained_scheduler: see `is_sampled_distilled`.

    Raises:
        InputError: it can't; `field` names the request's field.
    """
    if inputs.mode == "image_to_audio":
        return
    if distillation is None:
        if inputs.preset == "instant":
            raise InputError(
                "'instant' needs a distilled checkpoint, and this one is not distilled; "
                "use preset=fast",
                "preset",
            )
        return
    if is_sampled_distilled(inputs, distillation, trained_scheduler):
        _check_distilled(inputs, distillation)
    elif not distillation.guided_sampling:
        raise InputError(
            f"{inputs.scheduler!r} must be 'lcm', as this checkpoint is distilled without guided "
            "sampling; use preset=instant",
            "scheduler",
        )


def _check_distilled(inputs: InferenceInput, distillation: Distillation) -> None:
    steps, most = inputs.num_inference_steps, distillation.max_steps
    more = ", or preset=balanced for more steps" if distillation.guided_sampling else ""
    if steps > most:
        raise InputError(
            f"{steps} must be at most {most} for scheduler 'lcm' with this distilled checkpoint; "
            f"use preset=instant{more}",
            "num_inference_steps",
        )
    low, high = distillation.guidance
    guided = "use preset=fast, or " if distillation.guided_sampling else ""
    for name, end in (("start", inputs.start), ("end", inputs.end)):
        if not low <= end.guidance <= high:
            raise InputError(
                f"{end.guidance:g} must be from {low:g} to {high:g}, the range that this "
                f"checkpoint was distilled for with scheduler 'lcm'; {guided}choose one in it",
                f"{name}.guidance",
            )
        if end.negative_prompt:
            raise InputError(
                f"{_abridged(end.negative_prompt)} has no effect with scheduler 'lcm', as this "
                f"checkpoint was distilled without negative prompts; {guided}leave it out",
                f"{name}.negative_prompt",
            )


def guidance_embeddings(guidance: float, distillation: Distillation, width: int) -> FloatArray:
    """Embeddings of a guidance scale and of the lowest scale that the checkpoint knows.

    They are computed in NumPy, so that they are the same on every device.

    Args:
        width: the UNet's `time_cond_proj_dim`.

    Returns:
        (2, width) float32.
    """
    scales = np.array([guidance, distillation.guidance[0]], np.float32)
    embeddings: FloatArray = guidance_embedding(scales, width)
    return embeddings


def consistency_timesteps(
    scheduler: Any, num_steps: int, strength: float, solver_steps: int | None = None
) -> Any:
    """Set the timesteps of an LCM scheduler for img2img; a strength of 1 is txt2img.

    All are timesteps that the checkpoint was distilled at, so the first one follows the strength in
    steps of `1 / solver_steps`. The number of steps is the strength's share, rounded up.

    Args:
        scheduler: an LCM scheduler.
        num_steps: steps of the request.
        strength: from 0 to 1.
        solver_steps: number of timesteps that the checkpoint was distilled at; None for the
            scheduler's own, usually 50.

    Returns:
        The timesteps, noisiest first; none for a strength of 0.

    Raises:
        InputError: the checkpoint was trained with too few timesteps for so many steps.
        CheckpointError: it was trained with fewer timesteps than it was distilled at.
    """
    if strength == 0:
        return np.zeros(0, np.int64)

    def choose(num_steps: int) -> int:
        num_distilled = max(solver_steps or original_steps(scheduler), num_steps)
        num_usable = max(1, int(num_distilled * strength + _ROUNDING))
        count = min(math.ceil(num_steps * strength - _ROUNDING), num_usable)
        share = min(1.0, (num_usable + 0.5) / num_distilled)  # their product is rounded down
        scheduler.set_timesteps(count, original_inference_steps=num_distilled, strength=share)
        return count

    choose_timesteps(scheduler, num_steps, choose)
    return scheduler.timesteps


def _abridged(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:40] + "…")
