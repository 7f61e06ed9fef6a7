"""The loss of a diffusion model: add noise at a random timestep, and predict the noise or v.

Sources: Ho et al. 2020 for epsilon, Salimans & Ho 2022 for v, Hang et al. 2023 for min-SNR weights.
"""

import inspect
from collections.abc import Callable

import torch
from diffusers import DDPMScheduler

from riffusion.errors import InputError
from riffusion.runtime.devices import copied_to
from riffusion.training.config import ObjectiveConfig

STABLE_DIFFUSION_SCHEDULE = {  # for latents: Rombach et al. 2022
    "num_train_timesteps": 1000,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "clip_sample": False,
    "steps_offset": 1,
}
PIXEL_SCHEDULE = {  # Ho et al. 2020, section 4
    "beta_schedule": "linear",
    "beta_start": 1e-4,
    "beta_end": 0.02,
    "clip_sample": True,
    "steps_offset": 0,
}
SCHEDULE_OPTIONS = (
    "num_train_timesteps",
    "beta_start",
    "beta_end",
    "beta_schedule",
    "trained_betas",
    "rescale_betas_zero_snr",
)
"""Options of the noise schedule that every diffusers scheduler has."""
Predict = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""(noisy, timesteps) → prediction with the shape of `noisy`."""


def noise_schedule(config: ObjectiveConfig) -> DDPMScheduler:
    """The noise schedule for training: Stable Diffusion's, with the changes of the configuration.

    Raises:
        InputError: an option is unknown, or its value isn't allowed.
    """
    section = "objective.noise_schedule"
    known = inspect.signature(DDPMScheduler.__init__).parameters.keys() - {"self"}
    if unknown := sorted(config.noise_schedule.keys() - known):
        raise InputError(
            f"{section}.{unknown[0]} is not an option of DDPMScheduler; known: "
            f"{', '.join(sorted(known - {'prediction_type'}))}"
        )
    options = STABLE_DIFFUSION_SCHEDULE | config.noise_schedule
    try:
        return DDPMScheduler(**options, prediction_type=config.prediction)
    except (ValueError, TypeError, NotImplementedError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{section}: DDPMScheduler refuses this: {reason}") from error


def stratified(count: int, generator: torch.Generator) -> torch.Tensor:
    """Random numbers in [0, 1), one from each of `count` strata, in random order: (count,).

    They are on the generator's device.

    Stratified sampling covers the range evenly in every batch, which lowers the variance of the
    loss (Kingma et al. 2021, section I.1).
    """
    device = generator.device
    strata = torch.arange(count, device=device)
    strata = strata + torch.rand(count, generator=generator, device=device)
    return (strata / count)[torch.randperm(count, generator=generator, device=device)]


class DiffusionLoss:
    """Mean squared error of the prediction at random timesteps.

    Args:
        config: prediction type, noise schedule, and sampling and weighting of timesteps.
    """

    def __init__(self, config: ObjectiveConfig) -> None:
        self.config = config
        self.schedule = noise_schedule(config)

    def __call__(
        self, clean: torch.Tensor, generator: torch.Generator, predict: Predict
    ) -> torch.Tensor:
        """The loss of a batch, a scalar.

        Args:
            clean: (batch, channels, height, width), scaled to about unit variance.
            generator: generator for timesteps and noise, on the CPU or on the device of `clean`.
            predict: the network.
        """
        timesteps = copied_to(clean.device, self.draw_timesteps(len(clean), generator))
        noise = torch.randn(clean.shape, generator=generator, device=generator.device)
        noise = copied_to(clean.device, noise)
        noisy = self.schedule.add_noise(clean, noise, timesteps)
        if self.config.prediction == "epsilon":
            target = noise
        else:
            target = self.schedule.get_velocity(clean, noise, timesteps)
        error = (predict(noisy, timesteps).float() - target).square().mean(dim=(1, 2, 3))
        loss: torch.Tensor = (error * self.weights(timesteps)).mean()
        return loss

    def draw_timesteps(self, count: int, generator: torch.Generator) -> torch.Tensor:
        """Random timesteps on the generator's device: (count,) integers in [0, timesteps in all).

        They are `stratified`, uniform or with more of them in the middle.
        """
        position = stratified(count, generator)
        if self.config.timesteps == "logit_normal":
            position = torch.special.ndtri(position.clamp(1e-6, 1 - 1e-6)).sigmoid()
        steps = int(self.schedule.config.num_train_timesteps)
        return (position * steps).long().clamp(0, steps - 1)

    def weights(self, timesteps: torch.Tensor) -> torch.Tensor:
        """Weights of the examples' errors, (batch,).

        They are 1, or with min-SNR min(snr, γ)/snr for epsilon and min(snr, γ)/(snr + 1) for v.
        """
        gamma = self.config.min_snr_gamma
        if gamma is None:
            return torch.ones(len(timesteps), device=timesteps.device)
        signal = self.schedule.alphas_cumprod.to(timesteps.device)[timesteps]
        snr = signal / (1 - signal)
        divisor = snr if self.config.prediction == "epsilon" else snr + 1
        weights: torch.Tensor = snr.clamp(max=gamma) / divisor
        return weights
