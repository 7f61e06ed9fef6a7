"""The schedulers (samplers) that a request can name, each with settings that work well.

DDIM, DPM-Solver++ and latent consistency are our own (`samplers`), which need no PyTorch. The
others are diffusers', and so are these three with settings that ours don't have.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

from riffusion.datatypes import SchedulerName
from riffusion.diffusion.arrays import Array, copied_like
from riffusion.diffusion.samplers import SAMPLERS, Sampler
from riffusion.errors import InputError

NAMED: dict[str, tuple[str, dict[str, Any]]] = {
    "pndm": ("PNDMScheduler", {"skip_prk_steps": True}),  # no PRK warm-up in img2img
    "ddim": ("DDIMScheduler", {"clip_sample": False, "thresholding": False}),  # for pixels
    "dpmsolver++": (
        "DPMSolverMultistepScheduler",
        {"algorithm_type": "dpmsolver++", "solver_order": 2, "use_karras_sigmas": True},
    ),
    "unipc": ("UniPCMultistepScheduler", {"solver_order": 2}),
    "euler": ("EulerDiscreteScheduler", {}),
    "euler_a": ("EulerAncestralDiscreteScheduler", {}),
    "lms": ("LMSDiscreteScheduler", {}),
    "lcm": ("LCMScheduler", {}),
}


@dataclass(frozen=True)
class SchedulerConfig:
    """A checkpoint's scheduler without PyTorch: the content of its `scheduler_config.json`.

    Args:
        config: settings, and the class' name as `_class_name`.
    """

    config: Mapping[str, Any]


def scheduler_class(trained: Any) -> str:
    """Name of diffusers' class of a checkpoint's scheduler."""
    if isinstance(trained, SchedulerConfig):
        return str(trained.config.get("_class_name", "PNDMScheduler"))
    return type(trained).__name__


def new_scheduler(name: str | None, trained: Any) -> Any:
    """A new scheduler; schedulers hold state, so each job has its own.

    Args:
        name: scheduler to use; None for the checkpoint's own.
        trained: the checkpoint's scheduler, diffusers' or a `SchedulerConfig`; its noise schedule
            and prediction type are kept.

    Raises:
        InputError: there is no scheduler of that name, or it needs PyTorch.
    """
    if name is not None and name not in NAMED:
        raise InputError(
            f"{name!r} must be one of {', '.join(get_args(SchedulerName))}", "scheduler"
        )
    class_name, changed = (scheduler_class(trained), {}) if name is None else NAMED[name]
    unset = trained.config.get("_use_default_values", ())
    settings = {key: value for key, value in trained.config.items() if key not in unset} | changed
    sampler = SAMPLERS.get(class_name)
    if sampler is not None and sampler.supports(settings):
        return sampler(settings)
    if isinstance(trained, SchedulerConfig):
        raise InputError(
            f"{name or class_name!r} needs PyTorch: pip install 'riffusion-truss[torch]', or "
            "choose one of ddim, dpmsolver++, lcm",
            "scheduler",
        )
    from riffusion.diffusion.stock_schedulers import new_stock_scheduler

    return new_stock_scheduler(None if name is None else class_name, changed, trained)


def add_noise(scheduler: Any, latents: Array, noise: Array, timestep: Any) -> Array:
    """Add a timestep's noise to latents, `(1, channels, height, width)`.

    Args:
        scheduler: one of `new_scheduler`.
        latents: on any device.
        noise: anywhere.
        timestep: scalar, on the CPU.
    """
    noise = copied_like(noise, latents)
    if isinstance(scheduler, Sampler):
        return scheduler.add_noise(latents, noise, timestep)
    from riffusion.diffusion.coefficients import update_by_coefficients

    return update_by_coefficients(
        lambda tensors: scheduler.add_noise(*tensors, timestep.reshape(1)), [latents, noise]
    )


def original_steps(scheduler: Any) -> int:
    """Number of timesteps that an LCM scheduler chooses from."""
    of_config = scheduler.settings if isinstance(scheduler, Sampler) else scheduler.config
    return int(of_config["original_inference_steps"])


def set_timesteps(scheduler: Any, num_inference_steps: int) -> None:
    """Set a scheduler's timesteps, for any number of steps.

    LCM selects its timesteps from those it was distilled with, 50 by default. For more steps than
    that it selects from as many timesteps as there are steps.
    """
    options = {}
    if "original_inference_steps" in inspect.signature(scheduler.set_timesteps).parameters:
        options["original_inference_steps"] = max(original_steps(scheduler), num_inference_steps)
    scheduler.set_timesteps(num_inference_steps, **options)


def partial_timesteps(scheduler: Any, num_inference_steps: int, strength: float) -> Any:
    """The timesteps that img2img runs at a given strength: the last ones of the schedule.

    PNDM lists its second timestep twice, to correct the first step. The count includes the
    repetition, as upstream's does, so any strength above 0 takes a step. At 0 there are none: the
    image only passes through the VAE. (Upstream takes a step there too.)
    """
    timesteps = scheduler.timesteps
    repeated = len(timesteps) - num_inference_steps
    count = min(int(num_inference_steps * strength) + repeated, num_inference_steps)
    begin = len(timesteps) - (count if strength > 0 else 0)
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(begin)
    return timesteps[begin:]
