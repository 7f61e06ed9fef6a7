"""The schedulers (samplers) that a request can name, each with settings that work well."""

import inspect
from typing import Any, get_args

import diffusers
import torch
from diffusers import SchedulerMixin

from riffusion.datatypes import SchedulerName
from riffusion.diffusion.coefficients import (
    CachedLMSScheduler,
    CoefficientUniPCScheduler,
    update_by_coefficients,
)
from riffusion.errors import InputError

_CLASSES: dict[str, tuple[str, dict[str, Any]]] = {
    "pndm": ("PNDMScheduler", {"skip_prk_steps": True}),  # no PRK warm-up in img2img
    "ddim": ("DDIMScheduler", {"clip_sample": False}),
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


def new_scheduler(name: SchedulerName | None, trained: SchedulerMixin) -> SchedulerMixin:
    """A new scheduler; schedulers hold state, so each job has its own.

    Args:
        name: scheduler to use; None for the checkpoint's own.
        trained: the checkpoint's scheduler; its noise schedule and prediction type are kept.

    Raises:
        InputError: there is no scheduler of that name.
    """
    if name is None:
        return _without_waiting(type(trained)).from_config(trained.config)
    if name not in _CLASSES:
        raise InputError(
            f"{name!r} must be one of {', '.join(get_args(SchedulerName))}", "scheduler"
        )
    class_name, settings = _CLASSES[name]
    scheduler_class = _without_waiting(getattr(diffusers, class_name))
    return scheduler_class.from_config(trained.config, **settings)


def _without_waiting(scheduler_class: type) -> Any:
    """A class's variant that doesn't make the CPU wait for a GPU, or the class itself."""
    variants = {
        diffusers.LMSDiscreteScheduler: CachedLMSScheduler,
        diffusers.UniPCMultistepScheduler: CoefficientUniPCScheduler,
    }
    return variants.get(scheduler_class, scheduler_class)


def add_noise(
    scheduler: Any, latents: torch.Tensor, noise: torch.Tensor, timestep: torch.Tensor
) -> torch.Tensor:
    """Add a timestep's noise to latents, `(1, channels, height, width)`.

    Args:
        scheduler: a diffusers scheduler.
        latents, noise: on any device.
        timestep: scalar, on the CPU.
    """
    return update_by_coefficients(
        lambda tensors: scheduler.add_noise(*tensors, timestep.reshape(1)), [latents, noise]
    )


def set_timesteps(scheduler: SchedulerMixin, num_inference_steps: int) -> None:
    """Set a scheduler's timesteps, for any number of steps.

    LCM selects its timesteps from those it was distilled with, 50 by default. For more steps than
    that it selects from as many timesteps as there are steps.
    """
    options = {}
    if "original_inference_steps" in inspect.signature(scheduler.set_timesteps).parameters:
        distilled = scheduler.config.original_inference_steps
        options["original_inference_steps"] = max(distilled, num_inference_steps)
    scheduler.set_timesteps(num_inference_steps, **options)


def partial_timesteps(scheduler: Any, num_inference_steps: int, strength: float) -> torch.Tensor:
    """The timesteps that img2img runs at a given strength: the last ones of the schedule.

    PNDM lists its second timestep twice, to correct the first step. The count includes the
    repetition, as upstream's does, so any strength above 0 takes a step. At 0 there are none: the
    image only passes through the VAE. (Upstream takes a step there too.)
    """
    timesteps: torch.Tensor = scheduler.timesteps.cpu()
    repeated = len(timesteps) - num_inference_steps
    count = min(int(num_inference_steps * strength) + repeated, num_inference_steps)
    begin = len(timesteps) - (count if strength > 0 else 0)
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(begin)
    return timesteps[begin:]
