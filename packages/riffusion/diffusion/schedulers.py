"""The samplers that a request can name, each with the settings it is known to work well with."""

import inspect
from typing import Any, get_args

import diffusers
import torch
from diffusers import SchedulerMixin

from riffusion.datatypes import SchedulerName
from riffusion.errors import InputError

_CLASSES: dict[str, tuple[str, dict[str, Any]]] = {
    "pndm": ("PNDMScheduler", {"skip_prk_steps": True}),  # PRK warm-up doesn't fit img2img
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
    """A fresh sampler, so that no two jobs share one's state.

    Args:
        name: which; None for the checkpoint's own.
        trained: the checkpoint's scheduler, whose noise schedule and prediction type carry over.

    Raises:
        InputError: there is no such sampler.
    """
    if name is None:
        return type(trained).from_config(trained.config)
    if name not in _CLASSES:
        raise InputError(
            f"{name!r} must be one of {', '.join(get_args(SchedulerName))}", "scheduler"
        )
    class_name, settings = _CLASSES[name]
    return getattr(diffusers, class_name).from_config(trained.config, **settings)


def set_timesteps(scheduler: SchedulerMixin, num_inference_steps: int) -> None:
    """Lay out a sampler's timesteps, any number of them.

    LCM picks its timesteps out of those it was distilled at, 50 by default; for more of them the
    grid is made as fine as is needed.
    """
    options = {}
    if "original_inference_steps" in inspect.signature(scheduler.set_timesteps).parameters:
        usual = scheduler.config.original_inference_steps
        options["original_inference_steps"] = max(usual, num_inference_steps)
    scheduler.set_timesteps(num_inference_steps, **options)


def partial_timesteps(scheduler: Any, num_inference_steps: int, strength: float) -> torch.Tensor:
    """The timesteps that img2img runs at a strength: the last ones of the schedule.

    PNDM lists its second timestep twice, the first being corrected once it is known; the count
    includes that repetition, which is what upstream's images are made with.
    """
    timesteps: torch.Tensor = scheduler.timesteps.cpu()
    repeated = len(timesteps) - num_inference_steps
    count = min(int(num_inference_steps * strength) + repeated, num_inference_steps)
    begin = len(timesteps) - max(count, 0)
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(begin)
    return timesteps[begin:]
