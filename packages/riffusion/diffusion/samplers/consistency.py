"""Latent consistency: few steps, each of which jumps to the clean latents."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from riffusion.diffusion.arrays import Array, copied_like
from riffusion.diffusion.random_numbers import NormalNumbers
from riffusion.diffusion.samplers.sampler import Sampler

_LCM_SIGMA = 0.5
"""Standard deviation of the data, as latent consistency models assume it."""


class Consistency(Sampler):
    """Latent consistency (Luo et al. 2023): jumps to the clean latents, then adds noise again."""

    defaults: ClassVar[dict[str, Any]] = {
        "beta_start": 0.00085,
        "beta_end": 0.012,
        "beta_schedule": "scaled_linear",
        "original_inference_steps": 50,
        "clip_sample": False,
        "timestep_scaling": 10.0,
    }

    @classmethod
    def supports(cls, settings: Mapping[str, Any]) -> bool:
        """See `Sampler.supports`; latents aren't clipped."""
        known = cls.known_settings(settings)
        return super().supports(settings) and not known["clip_sample"]

    def set_timesteps(
        self,
        num_inference_steps: int,
        original_inference_steps: int | None = None,
        strength: float = 1.0,
    ) -> None:
        """Choose some of the timesteps that the network was distilled at.

        Args:
            num_inference_steps: how many.
            original_inference_steps: how many there are; None for the setting.
            strength: share of them, from the least noisy on, that is chosen from.
        """
        original = original_inference_steps or int(self.settings["original_inference_steps"])
        usable = int(original * strength)
        distilled = np.arange(1, usable + 1)[::-1] * (self._num_trained // original) - 1
        chosen = np.linspace(0, usable, num_inference_steps, endpoint=False)
        self._set(distilled[np.floor(chosen).astype(np.int64)])

    def step(
        self,
        model_output: Array,
        timestep: Any,
        sample: Array,
        generator: NormalNumbers | None = None,
        return_dict: bool = False,
    ) -> tuple[Array, Array]:
        """Latents with the next timestep's noise, and the clean ones.

        Args:
            generator: the noise; without one, and in the last step, none is added.
        """
        del return_dict
        index = self._next_index()
        alpha, sigma = self._alpha_sigma(int(timestep))
        clean = self._clean(model_output, sample, alpha, sigma)
        scaled = int(timestep) * float(self.settings["timestep_scaling"])
        size = scaled**2 + _LCM_SIGMA**2
        denoised = scaled / math.sqrt(size) * clean + _LCM_SIGMA**2 / size * sample
        if generator is None or index + 1 >= len(self.timesteps):
            return denoised, denoised
        noise = copied_like(generator.normal(model_output.shape), model_output)
        return self.add_noise(denoised, noise, self.timesteps[index + 1]), denoised
