"""What the samplers have in common.

With α = √ᾱ and σ = √(1 - ᾱ), the network's output at latents x says what the clean latents x₀ are:

    epsilon       x₀ = (x - σ output) / α
    v_prediction  x₀ = α x - σ output
    sample        x₀ = output
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from riffusion.diffusion.arrays import Array
from riffusion.diffusion.noise_schedule import is_known_schedule, remaining_power

Timesteps = npt.NDArray[np.int64]


class Sampler:
    """What the samplers share.

    Args:
        settings: those of `scheduler_config.json`, which go before the defaults.

    Attributes:
        timesteps: those to run, noisiest first.
    """

    defaults: ClassVar[dict[str, Any]] = {}
    _schedule: ClassVar[dict[str, Any]] = {
        "num_train_timesteps": 1000,
        "beta_start": 0.0001,
        "beta_end": 0.02,
        "beta_schedule": "linear",
        "trained_betas": None,
        "rescale_betas_zero_snr": False,
        "prediction_type": "epsilon",
        "steps_offset": 0,
        "thresholding": False,
    }
    init_noise_sigma = 1.0

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self.settings = self.known_settings(settings)
        self._power = remaining_power(self.settings)
        self._num_trained = len(self._power)
        self._begin = 0
        self._index: int | None = None
        self.timesteps: Timesteps = np.arange(self._num_trained)[::-1]

    @classmethod
    def known_settings(cls, settings: Mapping[str, Any]) -> dict[str, Any]:
        """The settings that this sampler has, with defaults for what is missing."""
        defaults = {**cls._schedule, **cls.defaults}
        return {name: settings.get(name, value) for name, value in defaults.items()}

    @classmethod
    def supports(cls, settings: Mapping[str, Any]) -> bool:
        """Whether this sampler can do what the settings ask for."""
        known = cls.known_settings(settings)
        return (
            is_known_schedule(known)
            and not known["thresholding"]
            and known["prediction_type"] in ("epsilon", "v_prediction", "sample")
        )

    @property
    def levels(self) -> npt.NDArray[np.float32] | None:
        """Noise levels σ / α at which the steps begin; None if they are those of the timesteps."""
        return None

    def set_begin_index(self, begin: int) -> None:
        """Begin at another timestep than the first."""
        self._begin, self._index = begin, None

    def scale_model_input(self, sample: Array, timestep: Any) -> Array:
        """Input of the network: the latents as they are."""
        del timestep
        return sample

    def add_noise(self, latents: Array, noise: Array, timestep: Any) -> Array:
        """Latents with the noise of a timestep."""
        alpha, sigma = self._alpha_sigma(int(timestep))
        return alpha * latents + sigma * noise

    def _set(self, timesteps: Timesteps) -> None:
        self.timesteps = timesteps
        self._begin, self._index = 0, None

    def _next_index(self) -> int:
        """Number of the step that is taken now."""
        self._index = self._begin if self._index is None else self._index + 1
        return self._index

    def _alpha_sigma(self, timestep: int) -> tuple[float, float]:
        power = float(self._power[timestep])
        return math.sqrt(power), math.sqrt(1 - power)

    def _clean(self, output: Array, sample: Array, alpha: float, sigma: float) -> Array:
        """x₀; see the module."""
        kind = self.settings["prediction_type"]
        if kind == "epsilon":
            return (sample - sigma * output) / alpha
        return output if kind == "sample" else alpha * sample - sigma * output
