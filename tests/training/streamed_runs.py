"""Runs that stream tar files."""

from pathlib import Path
from typing import Any

from tests.training.autoencoder_options import DC_OPTIONS
from tests.training.trainer_runs import autoencoder_config

PROCESSES_TOLERANCE = 1e-4
"""Relative; AdamW divides by the gradient's size, so rounding of tiny gradients grows."""


def config_of(dataset: str, output: Path, batch_size: int = 4, **run: Any) -> dict[str, Any]:
    run = {"ema_decay": 0.0, "sample_every": 0, "validate_every": 0} | run
    config = autoencoder_config(Path("d"), output, **run) | {"autoencoder": DC_OPTIONS}
    config["loss"] = {"latent_noise": 0}  # noise depends on the number of processes
    config["data"] |= {"dataset": dataset, "batch_size": batch_size, "shuffle_shards": 1}
    return config
