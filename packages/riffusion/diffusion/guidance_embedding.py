"""The guidance scale as an embedding, for networks that were distilled with guidance.

The convention is diffusers' for latent consistency models (Luo et al. 2023): the sinusoidal
embedding of Vaswani et al. 2017 at position 1000 · (w - 1), where w = 1 is no guidance.
"""

import math
from typing import Any

import torch

_POSITIONS_PER_UNIT = 1000.0
_LONGEST_PERIOD = 10000.0


def guidance_width(unet: Any) -> int | None:
    """Width of the embedding that a UNet takes; None if it takes none, as a user's own UNet."""
    width: int | None = getattr(unet.config, "time_cond_proj_dim", None)
    return width


def guidance_embedding(guidance: torch.Tensor, width: int) -> torch.Tensor:
    """Embeddings of guidance scales, for the UNet's `timestep_cond`.

    Args:
        guidance: scales, (batch,), on any device.
        width: the UNet's `time_cond_proj_dim`, at least 4.

    Returns:
        (batch, width) float32: sines, then cosines, and a zero if the width is odd.
    """
    half = width // 2
    index = torch.arange(half, device=guidance.device, dtype=torch.float32)
    frequencies = torch.exp(index * (-math.log(_LONGEST_PERIOD) / (half - 1)))
    angles = (guidance.float() - 1)[:, None] * _POSITIONS_PER_UNIT * frequencies
    embedding = torch.cat([angles.sin(), angles.cos()], dim=1)
    return torch.nn.functional.pad(embedding, (0, width % 2))
