"""Tiny teachers, and configurations that distill them."""

from pathlib import Path
from typing import Any

import torch
from diffusers import DPMSolverMultistepScheduler

from tests.checkpoint.checkpoints import tiny_model, write_folder
from tests.training.recipe_runs import QUIET

SIDE = 16
SOLVER_STEPS = 5
"""Few, so that a short run reaches from the clean image to pure noise."""
LATENT_SHAPE = (4, 8, 8)
LORA = {"rank": 4, "unet_modules": ["to_q", "to_k", "to_v", "to_out.0", "conv1", "proj_in"]}


def write_teacher(folder: Path) -> Path:
    """A tiny checkpoint with random weights that predicts v, and latents of unit deviation."""
    model = tiny_model()
    model.vae.register_to_config(scaling_factor=5.5)
    model.scheduler = DPMSolverMultistepScheduler(
        beta_schedule="scaled_linear",
        beta_start=0.00085,
        beta_end=0.02,
        prediction_type="v_prediction",
    )
    return write_folder(model, folder)


def config_of(
    teacher: Path, dataset: Path, output: Path, steps: int = 4, **others: Any
) -> dict[str, Any]:
    run = others.pop("run", {})
    data = others.pop("data", {})
    return {
        "task": "distill",
        "checkpoint": str(teacher),
        "output": str(output),
        "data": {"dataset": str(dataset), "batch_size": 8, "circular_shifts": 4, **data},
        "solver_steps": SOLVER_STEPS,
        "max_steps": SOLVER_STEPS,
        "optimizer": {"learning_rate": 3e-3, "warmup_steps": 1, "weight_decay": 0.0},
        "run": QUIET | {"steps": steps} | run,
        **others,
    }


def noise(rows: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(rows, *LATENT_SHAPE, generator=torch.Generator().manual_seed(seed))
