"""`riffusion train` and `riffusion distill`: train a network, or one that draws in a few steps."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from riffusion.cli.progress import progress_bar

if TYPE_CHECKING:
    from riffusion.training.config import TrainingConfig


_Config = Annotated[Path, typer.Argument(help="Configuration, a YAML file.")]
_Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        help="Change a value of the configuration, as in `--set run.steps=500`; may be repeated.",
    ),
]


def train(config: _Config, *, override: _Overrides = None) -> None:
    """Train a VAE or a diffusion model.

    If the run was interrupted, the same command resumes it from the last saved state. To train on
    several GPUs, use `accelerate launch -m riffusion train CONFIG`.
    """
    from riffusion.training.config import load_config

    _run(load_config(config, override or []))


def distill(config: _Config, *, override: _Overrides = None) -> None:
    """Distill a checkpoint into one that draws in 4 steps, without guidance rows.

    The configuration's task is `distill`. If the run was interrupted, the same command resumes it
    from the last saved state, as `riffusion train` does.
    """
    from riffusion.errors import InputError
    from riffusion.training.config import load_config

    options = load_config(config, override or [])
    if options.task != "distill":
        raise InputError(
            f"config={str(config)!r} has task={options.task!r}, but riffusion distill needs "
            "task=distill; run `riffusion train` with it"
        )
    _run(options)


def _run(options: "TrainingConfig") -> None:
    """Train as configured, and print where the result is."""
    import torch

    from riffusion.runtime.freed_memory import keep_freed_memory
    from riffusion.training.recipes import recipe_for
    from riffusion.training.trainer import Trainer, new_accelerator

    accelerator = new_accelerator(options)
    is_main = accelerator.is_main_process  # the one process that prints
    keep_freed_memory()
    logging.getLogger("riffusion.training").setLevel(logging.INFO)  # to print the losses
    torch.manual_seed(options.run.seed)  # for the networks' initial weights
    recipe = recipe_for(options)
    with progress_bar(
        "distilling" if options.task == "distill" else "training", is_enabled=is_main
    ) as move:
        result = Trainer(options, recipe, accelerator, move).train()
    if is_main:
        print(f"Wrote {result}")
