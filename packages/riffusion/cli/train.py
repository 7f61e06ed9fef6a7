"""`riffusion train`: train a VAE or a diffusion model."""

import logging
from pathlib import Path
from typing import Annotated

import typer

from riffusion.cli.progress import progress_bar


def train(
    config: Annotated[Path, typer.Argument(help="Configuration, a YAML file.")],
    *,
    override: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="Change a value of the configuration, as in `--set run.steps=500`; may be "
            "repeated.",
        ),
    ] = None,
) -> None:
    """Train a VAE or a diffusion model.

    If the run was interrupted, the same command resumes it from the last saved state. To train on
    several GPUs, use `accelerate launch -m riffusion train CONFIG`.
    """
    import torch

    from riffusion.runtime.devices import keep_freed_memory
    from riffusion.training.config import load_config
    from riffusion.training.recipes import recipe_for
    from riffusion.training.trainer import Trainer, new_accelerator

    options = load_config(config, override or [])
    accelerator = new_accelerator(options)
    is_main = accelerator.is_main_process  # the one process that prints
    keep_freed_memory()
    logging.getLogger("riffusion.training").setLevel(logging.INFO)  # to print the losses
    torch.manual_seed(options.run.seed)  # for the networks' initial weights
    recipe = recipe_for(options)
    with progress_bar("training", is_enabled=is_main) as move:
        result = Trainer(options, recipe, accelerator, move).train()
    if is_main:
        print(f"Wrote {result}")
