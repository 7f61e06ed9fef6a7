"""Upstream's functions around the pipeline: images and masks as tensors, and slerp."""

import torch
from PIL import Image

from riffusion.diffusion import interpolation
from riffusion.diffusion.geometry import LatentGeometry
from riffusion.diffusion.pipeline import RiffusionPipeline

__all__ = ["RiffusionPipeline", "preprocess_image", "preprocess_mask", "slerp"]

_MULTIPLE = 32
_LATENT_CHANNELS = 4


def preprocess_image(image: Image.Image) -> torch.Tensor:
    """Convert an image to (1, 3, height, width) float32 in [-1, 1], shrunk to multiples of 32."""
    width, height = _size_in_multiples(image)
    resized = image.resize((width, height), Image.Resampling.LANCZOS)
    geometry = LatentGeometry(width, height, 1, _MULTIPLE)
    return torch.from_numpy(geometry.pixels_from_image(resized))


def preprocess_mask(mask: Image.Image, scale_factor: int = 8) -> torch.Tensor:
    """Convert a mask to (1, 4, height / scale_factor, width / scale_factor); black (keep) is 1."""
    width, height = _size_in_multiples(mask)
    size = (width // scale_factor, height // scale_factor)
    shrunk = mask.convert("L").resize(size, Image.Resampling.NEAREST)
    repaint = torch.from_numpy(LatentGeometry(*size, 1, 1).repaint_from_mask(shrunk))
    return 1 - repaint.expand(1, _LATENT_CHANNELS, -1, -1)


def _size_in_multiples(image: Image.Image) -> tuple[int, int]:
    """Width and height, rounded down to multiples of 32."""
    return image.width - image.width % _MULTIPLE, image.height - image.height % _MULTIPLE


def slerp(
    t: float, v0: torch.Tensor, v1: torch.Tensor, dot_threshold: float = 0.9995
) -> torch.Tensor:
    """Spherical interpolation from `v0` (t = 0) to `v1` (t = 1), each treated as one long vector.

    Args:
        dot_threshold: accepted for upstream's scripts and ignored; the cosine above which the
            interpolation is linear is fixed.
    """
    del dot_threshold
    middle: torch.Tensor = interpolation.slerp(t, v0, v1)
    return middle
