"""Latents of loops, which may start anywhere."""

import numpy as np
from torch.utils.data import Dataset

from riffusion.datasets.examples import Example, Key
from riffusion.datasets.latents import LatentExamples


class CircularlyShiftedLatents(Dataset[Example]):
    """Latents rolled along time, as their images could be.

    A roll by whole columns of latents is what the encoder makes of the rolled image, but for the
    columns at the edges, where it sees the image's end.

    Args:
        examples: the latents.
        num_shifts: evenly spaced columns to start at; 1 leaves them as they are.
        seed: what a draw's roll follows from, with its number.
    """

    def __init__(self, examples: LatentExamples, num_shifts: int, seed: int) -> None:
        self.examples, self.num_shifts, self.seed = examples, num_shifts, seed
        self.rows = examples.rows

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, key: Key) -> Example:
        example = self.examples[key]
        if self.num_shifts > 1:
            # Not the stream that chooses captions, which would tie wordings to places.
            rng = np.random.default_rng((self.seed, key[1], _ROLLS))
            width = example["latents"].shape[-1]
            shift = int(rng.integers(self.num_shifts)) * width // self.num_shifts
            example["latents"] = example["latents"].roll(shift, dims=-1)
        return example


_ROLLS = 1
"""Tells this stream of random numbers from others of one seed and draw."""
