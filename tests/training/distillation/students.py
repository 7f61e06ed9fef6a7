"""What is measured of students: where they arrive, and how far they are from their teachers."""

from pathlib import Path
from typing import Any

import torch
from diffusers import DDIMScheduler

from riffusion.training.recipes.distillation import DistillationRecipe
from riffusion.training.recipes.distillation_objective import predict
from tests.training.distillation.runs import SOLVER_STEPS, noise
from tests.training.recipe_runs import new_recipe

HALF_PRECISION_LEVELS = 4
"""Grey levels by which rounding the weights to half precision may change an image of 4 steps."""


def new_distillation(config: dict[str, Any], folder: Path) -> DistillationRecipe:
    recipe = new_recipe(config, folder)
    assert isinstance(recipe, DistillationRecipe)
    recipe.examples("train", folder / "cache")  # embeds the captions
    return recipe


def end_of_walk(recipe: DistillationRecipe, start: torch.Tensor, guidance: float) -> torch.Tensor:
    """Where the guided teacher arrives, by diffusers' DDIM; an untrained LoRA is its teacher."""
    objective = recipe.objective
    network = objective.student if objective.teacher is None else objective.teacher
    scheduler = DDIMScheduler.from_config(
        objective.path.scheduler.config, timestep_spacing="trailing", set_alpha_to_one=False
    )
    scheduler.set_timesteps(SOLVER_STEPS)
    latents, states = start, states_of(recipe, len(start))
    empty = objective.embeddings[:1].expand(len(start), -1, -1)
    for timestep in scheduler.timesteps:
        times = timestep.repeat(len(start))
        without = predict(network, latents, times, empty, None)
        with_caption = predict(network, latents, times, states, None)
        guided = without + guidance * (with_caption - without)
        (latents,) = scheduler.step(guided, timestep, latents, return_dict=False)[:1]
    return latents


def jump(recipe: DistillationRecipe, start: torch.Tensor, guidance: float) -> torch.Tensor:
    """Where the student arrives in one step from pure noise."""
    objective = recipe.objective
    times = torch.full((len(start),), 999)
    told = objective.conditions(torch.full((len(start),), guidance), len(start))
    prediction = predict(objective.student, start, times, states_of(recipe, len(start)), told)
    return objective.path.end_of_path(prediction, start, times)


def error_of_jump(run: Any, guidance: float) -> float:
    """Squared distance of the trained student's jump from the walk's end, relative to that of the
    untrained student's."""
    before, after, _ = run
    start = noise(16)
    with torch.no_grad():
        walked = end_of_walk(before, start, guidance)
        at_first, at_last = (
            float((jump(recipe, start, guidance) - walked).square().mean())
            for recipe in (before, after)
        )
    return at_last / at_first


def states_of(recipe: DistillationRecipe, rows: int) -> torch.Tensor:
    """Embedded captions; number 0 is the empty one."""
    numbers = 1 + torch.arange(rows) % (len(recipe.table.captions) - 1)
    return recipe.objective.embeddings[numbers]


def drift(recipe: DistillationRecipe) -> float:
    """Difference between student and teacher when neither is told a guidance."""
    objective, rows = recipe.objective, 16
    width = objective.student.config.time_cond_proj_dim
    times = torch.arange(rows) * 60 + 30
    noisy, states = noise(rows, seed=1), states_of(recipe, rows)
    with torch.no_grad():
        student = predict(objective.student, noisy, times, states, torch.zeros(rows, width))
        teacher = predict(objective.teacher, noisy, times, states, None)
    return float(((student - teacher).square().mean() / teacher.square().mean()).sqrt())
