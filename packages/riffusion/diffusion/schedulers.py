"""The schedulers (samplers) that a request can name, each with settings that work well.

PNDM, DDIM, DPM-Solver++ and latent consistency are our own (`samplers`), which need no PyTorch. The
others are diffusers', and so are these four with settings that ours don't have.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, get_args

import numpy as np

from riffusion.datatypes import SchedulerName
from riffusion.diffusion.arrays import Array, copied_like
from riffusion.diffusion.samplers import SAMPLERS, Sampler
from riffusion.diffusion.scheduler_config import SchedulerConfig
from riffusion.errors import CheckpointError, InputError
from riffusion.io.bundle import how_to_use_torch

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
            f"{name or class_name!r} needs PyTorch; choose one of pndm, ddim, dpmsolver++, "
            f"lcm; or {how_to_use_torch()}",
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
    """Set a scheduler's timesteps.

    LCM selects its timesteps from those it was distilled with, 50 by default. For more steps than
    that it selects from as many timesteps as there are steps, and never from more than there are.

    Raises:
        InputError: the checkpoint was trained with too few timesteps for so many steps.
        CheckpointError: the scheduler's settings allow no steps at all.
    """

    def choose(count: int) -> int:
        options = {}
        if "original_inference_steps" in inspect.signature(scheduler.set_timesteps).parameters:
            distilled = max(original_steps(scheduler), count)
            options["original_inference_steps"] = min(distilled, _num_trained(scheduler))
        scheduler.set_timesteps(count, **options)
        return count

    choose_timesteps(scheduler, num_inference_steps, choose)


def choose_timesteps(scheduler: Any, num_steps: int, choose: Callable[[int], int]) -> None:
    """Set a scheduler's timesteps, and check that they differ and are within the training's.

    Otherwise some schedulers would divide by zero, and others wouldn't denoise.

    Args:
        scheduler: one of `new_scheduler`.
        num_steps: number of steps that a request asks for.
        choose: sets the scheduler's timesteps for such a number; returns how many steps they are.

    Raises:
        InputError: there are too few timesteps for so many steps.
        CheckpointError: the scheduler's settings allow no steps at all.
    """
    total = _num_trained(scheduler)

    def fits(number: int) -> bool:
        if number > total:
            return False
        try:
            count = choose(number)
        except (ValueError, ZeroDivisionError):  # how schedulers of diffusers refuse a number
            return False
        return _are_different(scheduler, count)

    if fits(num_steps):
        return
    most = next((number for number in range(num_steps - 1, 0, -1) if fits(number)), None)
    if most is None:
        raise CheckpointError(
            f"num_train_timesteps={total} and the scheduler's other settings allow no steps; "
            "correct scheduler_config.json, or distillation.json of a distilled checkpoint"
        )
    raise InputError(
        f"{num_steps} must be at most {most} with this sampler, as the checkpoint was trained with "
        f"{total} timesteps; choose fewer steps",
        "num_inference_steps",
    )


def _are_different(scheduler: Any, count: int) -> bool:
    """Whether each of `count` steps begins at a noise level of its own that was trained."""
    levels = scheduler.levels if isinstance(scheduler, Sampler) else _levels_of_stock(scheduler)
    timesteps = np.asarray(scheduler.timesteps, float)
    has_trained = levels is None or isinstance(scheduler, Sampler)  # else they may be any number
    if has_trained and not 0 <= timesteps.min() <= timesteps.max() < _num_trained(scheduler):
        return False
    return len(np.unique(timesteps if levels is None else levels)) >= count


def _levels_of_stock(scheduler: Any) -> Any:
    """Noise levels at which the steps of a scheduler of diffusers begin; None if it lists none."""
    levels = getattr(scheduler, "sigmas", None)
    return None if levels is None else np.asarray(levels, float)[:-1]


def _num_trained(scheduler: Any) -> int:
    of_config = scheduler.settings if isinstance(scheduler, Sampler) else scheduler.config
    return int(of_config["num_train_timesteps"])


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
