"""DPM-Solver++: steps of second order in the logarithm of the noise level."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from riffusion.diffusion.arrays import Array
from riffusion.diffusion.samplers.sampler import Sampler

_KARRAS_RHO = 7.0
"""Karras et al., "Elucidating the Design Space of Diffusion-Based Generative Models", 2022."""
_FEW_STEPS = 15
"""Below this many steps, the last ones of a multistep solver are of lower order."""
_ONE_AT_LAST_TIMESTEP = 2.0**-24
"""ᾱ of a last timestep without signal, which DPM-Solver++ can't divide by."""


class DPMSolver(Sampler):
    """DPM-Solver++ (Lu et al. 2022), of first or second order, by midpoints (algorithm 2).

    With λ = ln(α / σ) and h its change, and with the clean latents x₀ of this step and of the one
    before, the data are extrapolated to the middle of the step, and

        x' = (σ' / σ) x - α' (e^-h - 1) (x₀ + h / (2 h_before) · (x₀ - x₀_before))
    """

    defaults: ClassVar[dict[str, Any]] = {
        "solver_order": 2,
        "algorithm_type": "dpmsolver++",
        "solver_type": "midpoint",
        "lower_order_final": True,
        "euler_at_final": False,
        "use_karras_sigmas": False,
        "use_exponential_sigmas": False,
        "use_beta_sigmas": False,
        "use_lu_lambdas": False,
        "use_flow_sigmas": False,
        "final_sigmas_type": "zero",
        "lambda_min_clipped": -math.inf,
        "variance_type": None,
        "timestep_spacing": "linspace",
    }

    def __init__(self, settings: Mapping[str, Any]) -> None:
        super().__init__(settings)
        if self.settings["rescale_betas_zero_snr"]:
            self._power[-1] = _ONE_AT_LAST_TIMESTEP
        self._levels: npt.NDArray[np.float32] = np.zeros(1, np.float32)
        self._clean_before: Array = None

    @classmethod
    def supports(cls, settings: Mapping[str, Any]) -> bool:
        """See `Sampler.supports`."""
        known = cls.known_settings(settings)
        unknown = ("use_exponential_sigmas", "use_beta_sigmas", "use_lu_lambdas", "use_flow_sigmas")
        return (
            super().supports(settings)
            and known["solver_order"] in (1, 2)
            and known["algorithm_type"] == "dpmsolver++"
            and known["solver_type"] == "midpoint"
            and known["lambda_min_clipped"] == -math.inf
            and known["variance_type"] is None
            and settings.get("sigma_min") is None
            and settings.get("sigma_max") is None
            and not any(known[name] for name in unknown)
        )

    @property
    def levels(self) -> npt.NDArray[np.float32]:
        """See `Sampler.levels`."""
        return self._levels[:-1]

    def set_timesteps(self, num_inference_steps: int) -> None:
        """Choose the timesteps and their noise levels, σ / α."""
        total, count = self._num_trained, num_inference_steps
        spacing, offset = self.settings["timestep_spacing"], self.settings["steps_offset"]
        if spacing == "linspace":
            steps = np.linspace(0, total - 1, count + 1).round()[::-1][:-1]
        elif spacing == "leading":
            steps = np.arange(count + 1)[::-1][:-1] * (total // (count + 1)) + offset
        else:
            steps = np.arange(total, 0, -total / count).round() - 1
        trained = np.sqrt((1 - self._power) / self._power)
        if self.settings["use_karras_sigmas"]:
            levels = _karras_levels(float(trained[0]), float(trained[-1]), count)
            steps = _timesteps_of(levels, np.log(trained))
            if self.settings["beta_schedule"] != "squaredcos_cap_v2":
                steps = steps.round()
        else:
            levels = np.interp(steps, np.arange(total), trained)
        last = 0.0 if self.settings["final_sigmas_type"] == "zero" else float(trained[0])
        self._levels = np.append(levels, last).astype(np.float32)
        self._clean_before = None
        self._set(steps.astype(np.int64))

    def add_noise(self, latents: Array, noise: Array, timestep: Any) -> Array:
        """Latents with the noise of the step that comes next or, after a step, of its end."""
        del timestep
        index = self._begin if self._index is None else self._index + 1
        alpha, sigma = _alpha_sigma_of_level(float(self._levels[index]))
        return alpha * latents + sigma * noise

    def step(
        self, model_output: Array, timestep: Any, sample: Array, return_dict: bool = False
    ) -> tuple[Array]:
        """Less noisy latents."""
        del timestep, return_dict
        index = self._next_index()
        alpha, sigma = _alpha_sigma_of_level(float(self._levels[index]))
        clean = self._clean(model_output, sample, alpha, sigma)
        data, before, self._clean_before = clean, self._clean_before, clean
        level, end = float(self._levels[index]), float(self._levels[index + 1])
        next_alpha, next_sigma = _alpha_sigma_of_level(end)
        if self.settings["solver_order"] == 2 and before is not None and not self._is_simple(index):
            # λ = -ln(σ / α), so changes of λ are logarithms of ratios of levels.
            ratio = math.log(level / end) / math.log(float(self._levels[index - 1]) / level)
            data = clean + 0.5 * ratio * (clean - before)
        return (next_sigma / sigma * sample - next_alpha * (end / level - 1) * data,)

    def _is_simple(self, index: int) -> bool:
        """Whether a step is of first order because it is the last one."""
        settings, count = self.settings, len(self.timesteps)
        return index == count - 1 and (
            settings["euler_at_final"]
            or (settings["lower_order_final"] and count < _FEW_STEPS)
            or settings["final_sigmas_type"] == "zero"
        )


def _karras_levels(least: float, most: float, count: int) -> npt.NDArray[np.float64]:
    """Noise levels from `most` to `least` (Karras et al. 2022, equation 5)."""
    ramp = np.linspace(0, 1, count)
    first, last = most ** (1 / _KARRAS_RHO), least ** (1 / _KARRAS_RHO)
    levels: npt.NDArray[np.float64] = (first + ramp * (last - first)) ** _KARRAS_RHO
    return levels


def _timesteps_of(
    levels: npt.NDArray[np.float64], trained: npt.NDArray[np.float32]
) -> npt.NDArray[np.float64]:
    """Where noise levels lie among the timesteps' logarithmic ones, which ascend."""
    return np.interp(np.log(levels), trained, np.arange(len(trained)))


def _alpha_sigma_of_level(level: float) -> tuple[float, float]:
    alpha = 1 / math.sqrt(level**2 + 1)
    return alpha, level * alpha
