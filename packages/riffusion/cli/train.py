"""`riffusion train`."""

import logging
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

from riffusion.cli.progress import progress_bar


def train(
    config: Annotated[Path, typer.Argument(help="The configuration, a YAML file.")],
    *,
    override: Annotated[
        list[str] | None,
        typer.Option("--set", help="Change a value: --set run.steps=500. May be repeated."),
    ] = None,
) -> None:
    """Train a VAE or a diffusion model, or go on with a run that was ended.

    The same command goes on where the last saved state is. Several processes or GPUs:
    `accelerate launch -m riffusion train CONFIG`.
    """
    import torch

    from riffusion.runtime.devices import keep_freed_memory
    from riffusion.training.config import load_config
    from riffusion.training.recipes import recipe_for
    from riffusion.training.trainer import Trainer, new_accelerator

    options = load_config(config, override or [])
    accelerator = new_accelerator(options)
    speaks = accelerator.is_main_process  # for all processes
    keep_freed_memory()
    logging.getLogger("riffusion.training").setLevel(logging.INFO)  # losses, as they come
    torch.manual_seed(options.run.seed)  # the networks' first weights
    recipe = recipe_for(options)
    with progress_bar("training") if speaks else nullcontext(_silent) as move:
        result = Trainer(options, recipe, accelerator, move).train()
    if speaks:
        print(f"Wrote {result}")


def _silent(done: int, total: int) -> None:
    """Tells nobody."""
