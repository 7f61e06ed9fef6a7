"""Latent consistency distillation (Luo et al. 2023): the student jumps to where the teacher walks.

The teacher's guided sampling follows a path from noise to a clean image, here in `solver_steps`
steps of DDIM (Song et al. 2020). A consistency function f(z, t) gives the end of the path for any
point z on it, at timestep t. Two neighbouring points have the same end, which is the loss:

    distance(f(z_t, t), f⁻(z_s, s))        z_s: one DDIM step of the guided teacher from z_t

f⁻ is a moving average of f, without gradients. At t = 0, f must return z itself, so

    f(z, t) = skip(t) · z + out(t) · x(z, t)        skip(0) = 1, out(0) = 0

where x is the clean image that the network's prediction implies (Song et al. 2023, section 5).
`skip`, `out` and the timesteps are those of diffusers' LCMScheduler.
"""

from typing import Any

import torch
from diffusers import LCMScheduler
from torch import nn

from riffusion.errors import InputError
from riffusion.training.losses.diffusion import SCHEDULE_OPTIONS


class ConsistencyPath(nn.Module):
    """The teacher's path as tables by timestep, and functions of points on it.

    z has shape (batch, channels, height, width), timesteps are (batch,) integers on its device.

    Args:
        scheduler: the teacher's scheduler; its noise schedule and prediction type are used.
        solver_steps: DDIM steps from pure noise to the clean image.

    Raises:
        InputError: the schedule's timesteps aren't a multiple of `solver_steps`, or its last one
            has no signal, from which a predicted noise implies no image.
    """

    signal: torch.Tensor
    noise: torch.Tensor
    skip: torch.Tensor
    out: torch.Tensor

    def __init__(self, scheduler: Any, solver_steps: int) -> None:
        super().__init__()
        config = scheduler.config
        steps = int(config.num_train_timesteps)
        if steps % solver_steps != 0:
            below = max(count for count in range(1, solver_steps) if steps % count == 0)
            raise InputError(
                f"solver_steps={solver_steps} must divide the checkpoint's {steps} timesteps; use "
                f"{below}, or 50 as published"
            )
        self.stride = steps // solver_steps
        self.is_v = config.get("prediction_type", "epsilon") == "v_prediction"
        schedule = {name: config[name] for name in SCHEDULE_OPTIONS if name in config}
        self.scheduler = LCMScheduler(
            **schedule,
            prediction_type="v_prediction" if self.is_v else "epsilon",
            original_inference_steps=solver_steps,
            clip_sample=False,
        )
        power = self.scheduler.alphas_cumprod
        if not self.is_v and float(power[-1]) == 0:
            raise InputError(
                "rescale_betas_zero_snr=true in the checkpoint's scheduler leaves no signal at the "
                "last timestep, where a UNet that predicts epsilon can't be distilled; name a "
                "checkpoint that predicts v, or one without that option"
            )
        skip, out = self.scheduler.get_scalings_for_boundary_condition_discrete(
            torch.arange(steps, dtype=torch.float32)
        )
        tables = {"signal": power.sqrt(), "noise": (1 - power).sqrt(), "skip": skip, "out": out}
        for name, table in tables.items():
            self.register_buffer(name, table.float(), persistent=False)

    def starts(self, timesteps: torch.Tensor) -> torch.Tensor:
        """The first timesteps of the solver's steps in which any timesteps lie."""
        return (timesteps // self.stride + 1) * self.stride - 1

    def ends(self, starts: torch.Tensor) -> torch.Tensor:
        """The timesteps at which the steps from `starts` end; the last step ends at 0."""
        return (starts - self.stride).clamp(min=0)

    def add_noise(
        self, clean: torch.Tensor, noise: torch.Tensor, timesteps: torch.Tensor
    ) -> torch.Tensor:
        """Clean latents with the noise of a timestep."""
        return _at(self.signal, timesteps) * clean + _at(self.noise, timesteps) * noise

    def clean_and_noise(
        self, prediction: torch.Tensor, noisy: torch.Tensor, timesteps: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The clean latents and the noise that a network's prediction implies."""
        signal, noise = _at(self.signal, timesteps), _at(self.noise, timesteps)
        if self.is_v:
            return signal * noisy - noise * prediction, signal * prediction + noise * noisy
        return (noisy - noise * prediction) / signal, prediction

    def solver_step(
        self, prediction: torch.Tensor, noisy: torch.Tensor, starts: torch.Tensor
    ) -> torch.Tensor:
        """One DDIM step along the path, from `starts` to `ends(starts)`."""
        clean, noise = self.clean_and_noise(prediction, noisy, starts)
        return self.add_noise(clean, noise, self.ends(starts))

    def end_of_path(
        self, prediction: torch.Tensor, noisy: torch.Tensor, timesteps: torch.Tensor
    ) -> torch.Tensor:
        """The consistency function f, from a student's prediction."""
        clean, _ = self.clean_and_noise(prediction, noisy, timesteps)
        return _at(self.skip, timesteps) * noisy + _at(self.out, timesteps) * clean


def distance(found: torch.Tensor, wanted: torch.Tensor, huber_c: float | None) -> torch.Tensor:
    """Mean distance of each example, (batch,).

    Args:
        found, wanted: (batch, channels, height, width).
        huber_c: c of the pseudo-Huber distance √(error² + c²) - c; None for the squared error.
    """
    squared = (found - wanted).square()
    if huber_c is not None:
        squared = (squared + huber_c**2).sqrt() - huber_c
    return squared.mean(dim=(1, 2, 3))


def _at(table: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor:
    """Values of a table at timesteps, (batch, 1, 1, 1)."""
    return table[timesteps].view(-1, 1, 1, 1)
