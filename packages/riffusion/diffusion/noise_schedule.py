"""How much of a clip is left at each timestep: the schedule that a diffusion model is trained with.

At timestep t, latents are √ᾱ_t · x + √(1 - ᾱ_t) · noise (Ho et al., "Denoising Diffusion
Probabilistic Models", 2020, equation 4), where ᾱ_t is the product of 1 - β up to t. The names and
defaults of settings are those of diffusers' `scheduler_config.json`, and so is the rounding: betas
and products are rounded to single precision.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from riffusion.errors import CheckpointError
from riffusion.spectrogram.image import FloatArray

_MAX_BETA = 0.999
"""Largest beta of the cosine schedule, whose last one would be 1."""


def remaining_power(settings: Mapping[str, Any]) -> FloatArray:
    """ᾱ of each timestep, (timesteps,) float32, from 1 towards 0.

    Args:
        settings: `num_train_timesteps`, `beta_start`, `beta_end`, `beta_schedule`, `trained_betas`
            and `rescale_betas_zero_snr`.

    Raises:
        CheckpointError: the schedule is unknown.
    """
    betas = _betas(settings)
    if settings["rescale_betas_zero_snr"]:
        betas = _without_signal_at_the_end(betas)
    return _products(1 - betas)


def is_known_schedule(settings: Mapping[str, Any]) -> bool:
    """Whether `remaining_power` knows the schedule."""
    return settings["trained_betas"] is not None or settings["beta_schedule"] in _SCHEDULES


def _betas(settings: Mapping[str, Any]) -> FloatArray:
    if settings["trained_betas"] is not None:
        return np.asarray(settings["trained_betas"], np.float32)
    make = _SCHEDULES.get(settings["beta_schedule"])
    if make is None:
        raise CheckpointError(
            f"beta_schedule={settings['beta_schedule']!r} must be one of {', '.join(_SCHEDULES)}"
        )
    count = int(settings["num_train_timesteps"])
    return make(float(settings["beta_start"]), float(settings["beta_end"]), count)


def _linear(start: float, end: float, count: int) -> FloatArray:
    """PyTorch's `linspace`, which counts from both ends in single precision."""
    first, last = np.float32(start), np.float32(end)
    step = (last - first) / np.float32(count - 1)
    index = np.arange(count, dtype=np.float32)
    rising, falling = first + step * index, last - step * (np.float32(count - 1) - index)
    return np.where(index < count // 2, rising, falling).astype(np.float32)


def _scaled_linear(start: float, end: float, count: int) -> FloatArray:
    return _linear(start**0.5, end**0.5, count) ** 2


def _cosine(start: float, end: float, count: int) -> FloatArray:
    """Nichol and Dhariwal, "Improved Denoising Diffusion Probabilistic Models", 2021, eq. 17."""
    del start, end

    def left(share: float) -> float:
        return math.cos((share + 0.008) / 1.008 * math.pi / 2) ** 2

    betas = [min(1 - left((i + 1) / count) / left(i / count), _MAX_BETA) for i in range(count)]
    return np.array(betas, np.float32)


_SCHEDULES = {"linear": _linear, "scaled_linear": _scaled_linear, "squaredcos_cap_v2": _cosine}


def _products(factors: FloatArray) -> FloatArray:
    return np.cumprod(factors, dtype=np.float64).astype(np.float32)


def _without_signal_at_the_end(betas: FloatArray) -> FloatArray:
    """Betas whose last timestep is noise only (Lin et al., "Common Diffusion Noise Schedules and
    Sample Steps are Flawed", 2024, algorithm 1).
    """
    roots = np.sqrt(_products(1 - betas))
    first, last = roots[0], roots[-1]
    roots = (roots - last) * (first / (first - last))
    powers = roots**2
    return (1 - np.concatenate([powers[:1], powers[1:] / powers[:-1]])).astype(np.float32)
