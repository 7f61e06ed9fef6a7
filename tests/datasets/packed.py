"""A data set of striped images, a tiny checkpoint, and the packed latents of both."""

from pathlib import Path
from typing import Any

import pytest
from diffusers import AutoencoderKL

from riffusion.datasets.encode import encode_dataset
from riffusion.datasets.folder import DatasetFolder
from riffusion.training.networks.build import load_network
from tests.checkpoint.checkpoints import tiny_model, write_folder
from tests.datasets.striped_dataset import make_striped_dataset, striped_params
from tests.training.recipe_runs import QUIET

SIDE = 16
LEVELS = 8
HALF_PRECISION = 2**-11
"""Relative rounding error of float16, the precision of latents in memory."""


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_striped_dataset(tmp_path_factory.mktemp("data") / "stripes", side=SIDE)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny checkpoint with random weights, and latents of about unit deviation."""
    model = tiny_model()
    model.vae.register_to_config(scaling_factor=5.5)
    folder = write_folder(model, tmp_path_factory.mktemp("base") / "tiny")
    striped_params(SIDE).save(folder)
    return folder


@pytest.fixture(scope="module")
def packed(dataset: Path, base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("packed") / "latents"
    encode_dataset(DatasetFolder(dataset), vae_of(base), directory, levels=LEVELS)
    return directory


def vae_of(folder: Path) -> AutoencoderKL:
    vae: AutoencoderKL = load_network(AutoencoderKL, folder, "vae").eval()
    return vae


def config_of(task: str, base: Path, dataset: Path, output: Path) -> dict[str, Any]:
    config: dict[str, Any] = {
        "task": task,
        "output": str(output),
        "data": {"dataset": str(dataset), "batch_size": 8, "circular_shifts": 4},
        "optimizer": {"learning_rate": 3e-3, "warmup_steps": 2},
        "run": QUIET | {"steps": 10},
    }
    blocks: dict[str, Any] = {"block_out_channels": [16, 32], "layers_per_block": 1}
    blocks["norm_num_groups"] = 8
    if task in ("fine_tune", "distill"):
        return config | {"checkpoint": str(base)}
    if task == "unconditional":
        plain = {"down_block_types": ["DownBlock2D"] * 2, "up_block_types": ["UpBlock2D"] * 2}
        return config | {"vae": str(base), "unet": blocks | plain}
    attending = {
        "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"],
        "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"],
        "attention_head_dim": 2,
    }
    text = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1}
    return config | {
        "vae": str(base),
        "unet": blocks | attending,
        "text_encoder": text | {"num_attention_heads": 2},
        "vocabulary_size": 520,
    }
