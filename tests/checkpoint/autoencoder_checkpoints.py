"""Tiny checkpoints with autoencoders of every class."""

from pathlib import Path
from typing import Any

import torch

from riffusion.checkpoint.autoencoders import CLASSES
from tests.checkpoint.checkpoints import LATENT_CHANNELS, change_json, tiny_model, write_folder

FACTOR = 4
KL_BLOCKS: dict[str, Any] = {
    "block_out_channels": (32, 32, 32),
    "down_block_types": ("DownEncoderBlock2D",) * 3,
    "up_block_types": ("UpDecoderBlock2D",) * 3,
}
OPTIONS: dict[str, dict[str, Any]] = {
    "AutoencoderKL": KL_BLOCKS | {"scaling_factor": 0.5},
    "AutoencoderDC": {
        "encoder_block_out_channels": (8, 16, 16),
        "decoder_block_out_channels": (8, 16, 16),
        "encoder_layers_per_block": (0, 1, 1),
        "decoder_layers_per_block": (0, 1, 1),
        "encoder_qkv_multiscales": ((), (), ()),
        "decoder_qkv_multiscales": ((), (), ()),
        "scaling_factor": 0.7,
    },
    "AutoencoderTiny": {
        "encoder_block_out_channels": (8, 8, 8),
        "decoder_block_out_channels": (8, 8, 8),
        "num_encoder_blocks": (1, 1, 1),
        "num_decoder_blocks": (1, 1, 1),
        "scaling_factor": 1.5,
    },
    "VQModel": KL_BLOCKS,
}
"""The smallest of each class, all of factor `FACTOR`."""


def checkpoint(name: str, folder: Path) -> Path:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        vae = CLASSES[name](latent_channels=LATENT_CHANNELS, **OPTIONS[name]).eval()
    model = tiny_model()
    model.vae = vae
    write_folder(model, folder)
    change_json(folder / "model_index.json", vae=["diffusers", name])
    return folder
