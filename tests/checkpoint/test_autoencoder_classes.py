"""Checkpoints with each of diffusers' autoencoders: loaded, encoded, decoded; other classes refused."""

from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image

from riffusion.checkpoint import autoencoders
from riffusion.checkpoint.autoencoders import CLASSES
from riffusion.checkpoint.loader import load_components
from riffusion.diffusion import RiffusionPipeline
from riffusion.diffusion.geometry import LatentGeometry
from riffusion.errors import CheckpointError
from tests.checkpoint.checkpoints import (
    LATENT_CHANNELS,
    change_json,
    tiny_model,
    write_checkpoint,
)

FACTOR = 2
OPTIONS: dict[str, dict[str, Any]] = {
    "AutoencoderKL": {
        "latent_channels": LATENT_CHANNELS,
        "block_out_channels": (32, 32),
        "down_block_types": ("DownEncoderBlock2D",) * 2,
        "up_block_types": ("UpDecoderBlock2D",) * 2,
    },
    "AutoencoderDC": {
        "latent_channels": LATENT_CHANNELS,
        "encoder_block_out_channels": (8, 16),
        "decoder_block_out_channels": (8, 16),
        "encoder_layers_per_block": (1, 1),
        "decoder_layers_per_block": (1, 1),
        "encoder_qkv_multiscales": ((), ()),
        "decoder_qkv_multiscales": ((), ()),
        "scaling_factor": 0.7,
    },
    "AutoencoderTiny": {
        "latent_channels": LATENT_CHANNELS,
        "encoder_block_out_channels": (8, 8),
        "decoder_block_out_channels": (8, 8),
        "num_encoder_blocks": (1, 1),
        "num_decoder_blocks": (1, 1),
        "scaling_factor": 1.5,
    },
    "VQModel": {
        "latent_channels": LATENT_CHANNELS,
        "block_out_channels": (32, 32),
        "down_block_types": ("DownEncoderBlock2D",) * 2,
        "up_block_types": ("UpDecoderBlock2D",) * 2,
    },
}
"""The smallest of each class, all of factor `FACTOR`."""


def autoencoder(name: str) -> Any:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return CLASSES[name](**OPTIONS[name]).eval()
