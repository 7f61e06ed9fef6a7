"""More steps than the training's timesteps allow are refused by every sampler, ours or stock."""

from typing import Any, get_args

import diffusers
import numpy as np
import pytest
import torch

from riffusion.datatypes import SchedulerName
from riffusion.diffusion.distilled_sampling import consistency_timesteps
from riffusion.diffusion.samplers import SAMPLERS
from riffusion.diffusion.scheduler_config import SchedulerConfig
from riffusion.diffusion.schedulers import new_scheduler, set_timesteps
from riffusion.diffusion.stock_schedulers import new_stock_scheduler
from riffusion.errors import CheckpointError, InputError

NUM_TRAINED = 100
SCHEDULE = {
    "_class_name": "PNDMScheduler",
    "num_train_timesteps": NUM_TRAINED,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.0085,
    "beta_end": 0.12,
    "skip_prk_steps": True,
    "steps_offset": 1,
}
NAMES = get_args(SchedulerName)
OURS = ("pndm", "ddim", "dpmsolver++", "lcm")


def schedulers(**settings: Any) -> dict[str, Any]:
    """One of each name for PyTorch, then one of each of ours for NumPy."""
    config = {**SCHEDULE, **settings}
    torch_s = diffusers.PNDMScheduler.from_config(config)
    made = {name: new_scheduler(name, torch_s) for name in NAMES}
    numpy_s = SchedulerConfig(config)
    return made | {f"{name} in NumPy": new_scheduler(name, numpy_s) for name in OURS}


def walked(scheduler: Any) -> np.ndarray[Any, Any]:
    """Latents after all steps of a network that answers with its input."""
    latents = torch.randn((1, 4, 2, 2), generator=torch.Generator().manual_seed(1))
    for timestep in scheduler.timesteps:
        output = scheduler.scale_model_input(latents, timestep)
        latents = scheduler.step(output, timestep, latents, return_dict=False)[0]
    return latents.numpy()


@pytest.mark.parametrize("spacing", ["leading", "trailing", "linspace"])
def test_they_are_refused_with_the_most_that_works(spacing: str) -> None:
    for name, scheduler in schedulers(timestep_spacing=spacing).items():
        with pytest.raises(InputError, match="must be at most") as caught:
            set_timesteps(scheduler, 150)
        assert caught.value.field == "num_inference_steps", name
        most = int(str(caught.value).partition("at most ")[2].split()[0])
        assert NUM_TRAINED // 2 <= most <= NUM_TRAINED, name
        assert f"trained with {NUM_TRAINED} timesteps; choose fewer steps" in str(caught.value)
        with pytest.raises(InputError, match=f"{most + 1} must be at most {most} "):
            set_timesteps(scheduler, most + 1)
        set_timesteps(scheduler, most)
        assert np.isfinite(walked(scheduler)).all(), name


def test_whatever_the_usual_training_allows_is_accepted() -> None:
    for name, scheduler in schedulers(num_train_timesteps=1000).items():
        for count in (1, 2, 50, 149, 150):
            set_timesteps(scheduler, count)
            assert len(scheduler.timesteps) in (count, count + 1), name


def test_a_step_from_each_timestep_is_possible() -> None:
    scheduler = new_scheduler("ddim", SchedulerConfig(SCHEDULE | {"steps_offset": 0}))
    set_timesteps(scheduler, NUM_TRAINED)
    assert scheduler.timesteps.tolist() == list(range(NUM_TRAINED))[::-1]


def test_schedulers_that_take_each_step_twice_are_accepted() -> None:
    trained = diffusers.HeunDiscreteScheduler(beta_schedule="scaled_linear")
    scheduler = new_stock_scheduler(None, {}, trained)
    set_timesteps(scheduler, 20)
    assert len(scheduler.timesteps) == 39


def test_distilled_sampling_refuses_them_as_well() -> None:
    for trained in (diffusers.LCMScheduler(num_train_timesteps=100), SchedulerConfig(SCHEDULE)):
        scheduler = new_scheduler("lcm", trained)
        assert len(consistency_timesteps(scheduler, 8, 0.5)) == 4
        with pytest.raises(InputError, match="150 must be at most 100 "):
            consistency_timesteps(scheduler, 150, 1.0)
        with pytest.raises(CheckpointError, match=r"allow no steps; correct .*distillation\.json"):
            consistency_timesteps(scheduler, 4, 1.0, solver_steps=101)


def test_each_of_ours_is_tested_here() -> None:
    assert len(OURS) == len(SAMPLERS)
