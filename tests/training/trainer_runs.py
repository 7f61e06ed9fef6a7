"""Runs of the trainer with a tiny autoencoder, in this process and in others."""

import functools
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from accelerate.state import AcceleratorState, GradientState, PartialState
from safetensors.torch import load_file

from riffusion.cli.app import main
from riffusion.datasets.examples import Example
from riffusion.training.config import load_config
from riffusion.training.recipes import recipe_for
from riffusion.training.recipes.autoencoder import AutoencoderObjective
from riffusion.training.trainer import Trainer, new_accelerator
from tests.patience import PATIENCE_S
from tests.training.recipe_runs import write_config

STEPS = 12
SAVE_EVERY = 3


def autoencoder_config(dataset: Path, output: Path, **run: Any) -> dict[str, Any]:
    return {
        "task": "autoencoder",
        "output": str(output),
        "data": {"dataset": str(dataset), "batch_size": 4, "crop_width": 16, "circular_shifts": 2},
        "autoencoder": {
            "in_channels": 3,
            "out_channels": 3,
            "latent_channels": 4,
            "block_out_channels": [8, 8],
            "norm_num_groups": 4,
            "down_block_types": ["DownEncoderBlock2D"] * 2,
            "up_block_types": ["UpDecoderBlock2D"] * 2,
            "mid_block_add_attention": False,
        },
        "optimizer": {"learning_rate": 5e-3, "warmup_steps": 2},
        "run": {
            "steps": STEPS,
            "log_every": 2,
            "save_every": SAVE_EVERY,
            "validate_every": 6,
            "sample_every": 6,
            "validation_batches": 2,
            **run,
        },
    }


def forget_accelerator() -> None:
    for state in (AcceleratorState, GradientState, PartialState):
        state._reset_state()


def new_trainer(config: dict[str, Any], folder: Path, **options: Any) -> Trainer:
    run = load_config(write_config(config, folder / "config.yaml"))
    forget_accelerator()
    accelerator = new_accelerator(run)
    torch.manual_seed(run.run.seed)
    return Trainer(run, recipe_for(run), accelerator, **options)


def train(config: dict[str, Any], folder: Path) -> Path:
    """Train in this process."""
    return new_trainer(config, folder).train()


def start(config: Path, prepare: Callable[[], None], **environment: str) -> BaseProcess:
    """Start `riffusion train` in another process, which calls `prepare` first."""
    process = _processes().Process(target=run_command, args=(config, prepare, environment))
    process.start()
    return process


@functools.cache
def _processes() -> BaseContext:
    """Processes that needn't import torch again, which takes most of a test's time.

    They are forked from one that has imported it and done nothing else: with a GPU, even an
    emulated one, torch doesn't allow forking once gradients were computed.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    return context


def run_command(config: Path, prepare: Callable[[], None], environment: dict[str, str]) -> None:
    os.environ.update(environment | {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"})
    torch.set_num_threads(1)
    forget_accelerator()
    prepare()
    sys.exit(main(["train", str(config)]))


def write_errors_to(path: Path) -> None:
    """Append what the process writes to stderr to a file."""
    os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)


def die_after_step(last: int) -> None:
    """Make the trainer kill its process after a step, before it saves a state."""
    step = Trainer._step

    def step_or_die(self: Trainer, number: int, batches: Any) -> dict[str, float]:
        losses = step(self, number, batches)
        if number + 1 == last:
            os.kill(os.getpid(), signal.SIGKILL)
        return losses

    Trainer._step = step_or_die  # type: ignore[method-assign]


def remove_noise() -> None:
    """Set the posterior's noise to 0, which depends on the number of processes."""
    forward = AutoencoderObjective.forward

    def forward_without_noise(
        self: AutoencoderObjective, batch: Example, generator: torch.Generator
    ) -> dict[str, torch.Tensor]:
        with patch.object(torch, "randn", lambda shape, **_: torch.zeros(shape)):
            return forward(self, batch, generator)

    AutoencoderObjective.forward = forward_without_noise  # type: ignore[method-assign]


def exit_code(process: BaseProcess) -> int | None:
    """Wait until a process ends, or kill it."""
    process.join(PATIENCE_S)
    process.kill()
    process.join()
    return process.exitcode


def weights_of(output: Path) -> dict[str, torch.Tensor]:
    return load_file(output / "checkpoint/vae/diffusion_pytorch_model.safetensors")
