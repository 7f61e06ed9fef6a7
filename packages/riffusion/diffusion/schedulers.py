"""The samplers that a request can name, each with the settings it is known to work well with."""

from typing import Any, get_args

import diffusers
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
