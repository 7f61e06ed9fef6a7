"""PNDM: a linear multistep method over deterministic steps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from riffusion.diffusion.arrays import Array
from riffusion.diffusion.samplers.strides import StridedSampler

_WEIGHTS = (
    (1.0,),
    (3 / 2, -1 / 2),
    (23 / 12, -16 / 12, 5 / 12),
    (55 / 24, -59 / 24, 37 / 24, -9 / 24),
)
"""Weights of the last outputs, newest first, by how many there are (Adams and Bashforth)."""


class PNDM(StridedSampler):
    """Liu et al., "Pseudo Numerical Methods for Diffusion Models on Manifolds", 2022.

    A step is that of DDIM with a weighted sum of the last four outputs in place of the newest one
    (equations 9 and 12). The paper begins with Runge-Kutta steps. Here, as in latent diffusion and
    Stable Diffusion, the first step is taken twice instead, the second time with the mean of the
    outputs at its start and at its end. So the second timestep is listed twice.
    """

    defaults: ClassVar[dict[str, Any]] = {
        "skip_prk_steps": False,
        "set_alpha_to_one": False,
        "timestep_spacing": "leading",
    }

    def __init__(self, settings: Mapping[str, Any]) -> None:
        super().__init__(settings)
        self._outputs: list[Array] = []
        self._num_taken = 0
        self._first_sample: Array = None

    @classmethod
    def supports(cls, settings: Mapping[str, Any]) -> bool:
        """See `Sampler.supports`; without the Runge-Kutta steps."""
        known = cls.known_settings(settings)
        predictions = ("epsilon", "v_prediction")  # as in diffusers
        return (
            super().supports(settings)
            and bool(known["skip_prk_steps"])
            and known["prediction_type"] in predictions
        )

    def set_timesteps(self, num_inference_steps: int) -> None:
        """Choose the timesteps; from two on, there is one more than steps are asked for."""
        super().set_timesteps(num_inference_steps)
        self._set(np.concatenate([self.timesteps[:2], self.timesteps[1:]]))
        self._outputs, self._num_taken = [], 0

    def step(
        self, model_output: Array, timestep: Any, sample: Array, return_dict: bool = False
    ) -> tuple[Array]:
        """Less noisy latents.

        The second call takes the first step again, whatever timestep it is given; if denoising
        began at a later timestep than the first, that step is thus taken twice as well.
        """
        del return_dict
        at = int(timestep)
        if self._num_taken == 1:
            at, sample = at + self._stride, self._first_sample
            output = (model_output + self._outputs[0]) / 2
            self._first_sample = None
        else:
            self._outputs = [model_output, *self._outputs[:3]]
            weights = _WEIGHTS[len(self._outputs) - 1]
            output = sum(
                weight * before for weight, before in zip(weights, self._outputs, strict=True)
            )
            if self._num_taken == 0:
                self._first_sample = sample
        self._num_taken += 1
        of_sample, of_output = self.coefficients(at)
        return (of_sample * sample + of_output * output,)
