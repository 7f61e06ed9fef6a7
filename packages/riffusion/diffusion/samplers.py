"""Samplers over arrays of NumPy or PyTorch: DDIM, DPM-Solver++ and latent consistency.

Each has the interface of a diffusers scheduler, as far as a job uses it: `set_timesteps`,
`timesteps`, `scale_model_input`, `step`, `add_noise`; and gives what diffusers' gives, to rounding.
Scalars are Python's numbers, so that no GPU is waited for. With α = √ᾱ and σ = √(1 - ᾱ), the
network's output at latents x says what the clean latents x₀ are:

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

from riffusion.diffusion.arrays import Array, copied_like
from riffusion.diffusion.noise_schedule import is_known_schedule, remaining_power
from riffusion.diffusion.random_numbers import NormalNumbers

Timesteps = npt.NDArray[np.int64]

_KARRAS_RHO = 7.0
"""Karras et al., "Elucidating the Design Space of Diffusion-Based Generative Models", 2022."""
_FEW_STEPS = 15
"""Below this many steps, the last ones of a multistep solver are of lower order."""
_LCM_SIGMA = 0.5
"""Standard deviation of the data, as latent consistency models assume it."""
_ONE_AT_LAST_TIMESTEP = 2.0**-24
"""ᾱ of a last timestep without signal, which DPM-Solver++ can't divide by."""


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


class DDIM(Sampler):
    """Song et al., "Denoising Diffusion Implicit Models", 2021, equation 12 with σ = 0."""

    defaults: ClassVar[dict[str, Any]] = {
        "clip_sample": True,
        "set_alpha_to_one": True,
        "timestep_spacing": "leading",
    }

    def __init__(self, settings: Mapping[str, Any]) -> None:
        super().__init__(settings)
        self._stride = 1

    @classmethod
    def supports(cls, settings: Mapping[str, Any]) -> bool:
        """See `Sampler.supports`; latents aren't clipped."""
        known = cls.known_settings(settings)
        return super().supports(settings) and not known["clip_sample"]

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

    def step(
        self, model_output: Array, timestep: Any, sample: Array, return_dict: bool = False
    ) -> tuple[Array]:
        """Less noisy latents."""
        del return_dict
        of_sample, of_output = self.coefficients(timestep)
        return (of_sample * sample + of_output * model_output,)


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


SAMPLERS: dict[str, type[Sampler]] = {
    "DDIMScheduler": DDIM,
    "DPMSolverMultistepScheduler": DPMSolver,
    "LCMScheduler": Consistency,
}
"""By the name of diffusers' class."""


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
