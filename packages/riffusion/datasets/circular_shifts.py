"""Latents of loops, rotated in time at random: a loop may start anywhere."""

from pathlib import Path

import numpy as np
import torch

from riffusion.checkpoint.autoencoders import Autoencoder
from riffusion.datasets.config import DataConfig
from riffusion.datasets.examples import SHIFT_STREAM, DerivedExamples, Example, Key, plan
from riffusion.datasets.folder import DatasetFolder, Split
from riffusion.datasets.latents import LatentExamples


class CircularlyShiftedLatents(DerivedExamples):
    """Latents that are circularly shifted along time, as their images could be.

    Shifting latents by whole frames equals encoding the shifted image, except at the edges, where
    the encoder sees the border of the image.

    Args:
        examples: the latents.
        num_shifts: number of evenly spaced start frames; 1 leaves the latents unchanged.
        seed: together with the number of the draw, it determines the shift.

    Attributes:
        returns_plans: whether an example is a plan for `DeviceSplit` instead of latents.
    """

    examples: LatentExamples
    returns_plans = False

    def __init__(self, examples: LatentExamples, num_shifts: int, seed: int) -> None:
        self.examples, self.num_shifts, self.seed = examples, num_shifts, seed
        self.rows = examples.rows

    def __getitem__(self, key: Key) -> Example:
        shift = 0
        if self.num_shifts > 1:
            # A separate random stream: otherwise the caption and the shift would be correlated.
            rng = np.random.default_rng((self.seed, key[1], SHIFT_STREAM))
            width = self.examples.width
            shift = int(rng.integers(self.num_shifts)) * width // self.num_shifts
        if self.returns_plans:
            return plan(key[0], shift, left=0)
        example = self.examples[key]
        if shift:
            example["latents"] = example["latents"].roll(shift, dims=-1)
        return example


def encoded_examples(
    folder: DatasetFolder,
    split: Split,
    vae: Autoencoder,
    config: DataConfig,
    cache: Path,
    seed: int,
) -> CircularlyShiftedLatents:
    """Latents of a split, encoded on the GPU if there is one, with `config.circular_shifts`.

    Args:
        folder: the data set.
        split: the split to read.
        vae: the encoder; moved to the GPU if there is one.
        config: see `DataConfig`.
        cache: folder of the encoded latents.
        seed: determines the shifts.

    Raises:
        InputError, MediaError: as `LatentExamples`.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    latents = LatentExamples(folder, split, vae.to(device), config, cache)
    return CircularlyShiftedLatents(latents, config.circular_shifts, seed)
