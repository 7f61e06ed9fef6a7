"""Running a training recipe in this process, on tiny networks."""

from pathlib import Path
from typing import Any

import torch
import yaml
from accelerate.state import AcceleratorState, GradientState, PartialState
from diffusers import AutoencoderKL

from riffusion.datasets.examples import Example
from riffusion.training.config import TrainingConfig, load_config
from riffusion.training.recipes import Recipe, recipe_for
from riffusion.training.trainer import Trainer, new_accelerator

QUIET = {
    "log_every": 1000,
    "validate_every": 0,
    "sample_every": 0,
    "save_every": 0,
    "ema_decay": 0.0,
}
"""`run` options for short runs: nothing is logged, validated, sampled or saved on the way."""


def tiny_vae(scaling_factor: float) -> AutoencoderKL:
    """A VAE with random weights, the same at every call."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return AutoencoderKL(
            latent_channels=4,
            block_out_channels=(8, 8),
            down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2,
            norm_num_groups=4,
            scaling_factor=scaling_factor,
        )


def write_config(config: dict[str, Any], path: Path) -> Path:
    path.write_text(yaml.safe_dump(config))
    return path


def new_recipe(config: dict[str, Any], folder: Path) -> Recipe:
    """A configuration's recipe, with its initial weights."""
    options = load_config(write_config(config, folder / "config.yaml"))
    torch.manual_seed(options.run.seed)
    return recipe_for(options)


def train(config: dict[str, Any], folder: Path) -> tuple[Recipe, Path]:
    """Train in this process; returns the trained recipe and the folder of the result."""
    options = load_config(write_config(config, folder / "config.yaml"))
    for state in (AcceleratorState, GradientState, PartialState):
        state._reset_state()
    accelerator = new_accelerator(options)
    torch.manual_seed(options.run.seed)
    recipe = recipe_for(options)
    return recipe, Trainer(options, recipe, accelerator).train()


def loss_of(
    recipe: Recipe, folder: Path, name: str = "loss", count: int = 16, seed: int = 0
) -> float:
    """Mean of a loss over the first training examples, always with the same noise."""
    examples = recipe.examples("train", folder / "cache")
    batch = batch_of([examples[row % len(examples), row] for row in range(count)])
    recipe.objective.eval()
    is_half = options_of(recipe).run.mixed_precision == "bf16"
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=is_half):
        losses = [
            recipe.objective(batch, torch.Generator().manual_seed(seed + number))[name]
            for number in range(4)
        ]
    recipe.objective.train()
    return float(torch.stack(losses).mean())


def options_of(recipe: Recipe) -> TrainingConfig:
    """The configuration of a recipe."""
    options: TrainingConfig = recipe.config  # type: ignore[attr-defined] # each recipe has its own
    return options


def batch_of(examples: list[Example]) -> Example:
    """Examples collated to a batch, as a loader does."""
    batch: Any = torch.utils.data.default_collate(examples)
    result: Example = batch
    return result
