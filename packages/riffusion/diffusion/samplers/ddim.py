"""DDIM: deterministic steps of first order."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from riffusion.diffusion.arrays import Array
from riffusion.diffusion.samplers.strides import StridedSampler


class DDIM(StridedSampler):
    """Song et al., "Denoising Diffusion Implicit Models", 2021, equation 12 with σ = 0."""

    defaults: ClassVar[dict[str, Any]] = {
        "clip_sample": True,
        "set_alpha_to_one": True,
        "timestep_spacing": "leading",
    }

    @classmethod
    def supports(cls, settings: Mapping[str, Any]) -> bool:
        """See `Sampler.supports`; latents aren't clipped."""
        known = cls.known_settings(settings)
        return super().supports(settings) and not known["clip_sample"]

    def step(
        self, model_output: Array, timestep: Any, sample: Array, return_dict: bool = False
    ) -> tuple[Array]:
        """Less noisy latents."""
        del return_dict
        of_sample, of_output = self.coefficients(timestep)
        return (of_sample * sample + of_output * model_output,)
