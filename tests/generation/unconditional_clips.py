"""Clips of unconditional checkpoints, and how much their images differ."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from riffusion.audio import Audio
from riffusion.checkpoint.unconditional import UnconditionalCheckpoint
from riffusion.generation.unconditional import UnconditionalClip, UnconditionalGenerator
from riffusion.generation.unconditional_request import UnconditionalRequest

OTHER_ROUNDING = 1
"""Grey levels by which a pixel may differ where sums are rounded in another order."""
Folders = Callable[..., Path]


@functools.cache
def opened(folder: Path, at_once: int | None = None) -> UnconditionalGenerator:
    return UnconditionalGenerator(UnconditionalCheckpoint.read(str(folder)), "cpu", at_once)


def made(
    folder: Path, source: Audio | None = None, at_once: int | None = None, **request: Any
) -> list[UnconditionalClip]:
    request = {"steps": 3, **request}
    return list(opened(folder, at_once).generate(UnconditionalRequest(**request), source))


def pixels(image: Image.Image) -> np.ndarray:
    return np.asarray(image, dtype=np.int16)


def difference(image: Image.Image, other: Image.Image) -> int:
    assert image.size == other.size
    return int(np.abs(pixels(image) - pixels(other)).max())
