"""Deterministic steps of equal strides through the timesteps, which DDIM and PNDM are made of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from riffusion.diffusion.samplers.sampler import Sampler


class StridedSampler(Sampler):
    """A sampler whose steps go from one timestep to the one a stride below, without noise."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        super().__init__(settings)
        self._stride = 1

    def set_timesteps(self, num_inference_steps: int) -> None:
        """Choose the timesteps."""
        total, count = self._num_trained, num_inference_steps
        self._stride = total // count
        spacing = self.settings["timestep_spacing"]
        if spacing == "linspace":
            steps = np.linspace(0, total - 1, count).round()[::-1]
        elif spacing == "leading":
            steps = np.arange(count)[::-1] * self._stride + self.settings["steps_offset"]
        else:
            steps = np.arange(total, 0, -total / count).round() - 1
        self._set(steps.astype(np.int64))

    def coefficients(self, timestep: Any) -> tuple[float, float]:
        """A step as a sum: the next latents are the first times these and the second times the
        output.
        """
        alpha, sigma = self._alpha_sigma(int(timestep))
        before = int(timestep) - self._stride
        if before >= 0:
            next_alpha, next_sigma = self._alpha_sigma(before)
        elif self.settings["set_alpha_to_one"]:
            next_alpha, next_sigma = 1.0, 0.0
        else:
            next_alpha, next_sigma = self._alpha_sigma(0)
        kind = self.settings["prediction_type"]
        if kind == "epsilon":
            return next_alpha / alpha, next_sigma - next_alpha * sigma / alpha
        if kind == "sample":
            return next_sigma / sigma, next_alpha - next_sigma * alpha / sigma
        return next_alpha * alpha + next_sigma * sigma, next_sigma * alpha - next_alpha * sigma
