"""The guidance scale as an embedding, for networks that were distilled with guidance.

The convention is diffusers' for latent consistency models (Luo et al. 2023): the sinusoidal
embedding of Vaswani et al. 2017 at position 1000 · (w - 1), where w = 1 is no guidance.
"""

import math
from typing import Any

from riffusion.diffusion.arrays import Array, array_namespace, device

_POSITIONS_PER_UNIT = 1000.0
_LONGEST_PERIOD = 10000.0


def guidance_width(unet: Any) -> int | None:
    """Width of the embedding that a UNet takes; None if it takes none, as a user's own UNet."""
    width: int | None = getattr(unet.config, "time_cond_proj_dim", None)
    return width


def guidance_embedding(guidance: Array, width: int) -> Array:
    """Embeddings of guidance scales, for the UNet's `timestep_cond`.

    Args:
        guidance: scales, (batch,) floats, of NumPy or PyTorch.
        width: the UNet's `time_cond_proj_dim`, at least 4.

    Returns:
        (batch, width) float32: sines, then cosines, and a zero if the width is odd.
    """
    xp = array_namespace(guidance)
    half = width // 2
    index = xp.arange(half, device=device(guidance), dtype=xp.float32)
    frequencies = xp.exp(index * (-math.log(_LONGEST_PERIOD) / (half - 1)))
    angles = (xp.astype(guidance, xp.float32) - 1)[:, None] * _POSITIONS_PER_UNIT * frequencies
    odd = xp.zeros((angles.shape[0], width % 2), dtype=xp.float32, device=device(guidance))
    return xp.concat([xp.sin(angles), xp.cos(angles), odd], axis=1)
