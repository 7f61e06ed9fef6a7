"""Latents of loops, which may start anywhere."""

import numpy as np
from torch.utils.data import Dataset

from riffusion.datasets.examples import Example, Key
from riffusion.datasets.latents import LatentExamples


class RolledLatents(Dataset[Example]):
    """Latents rolled along time, as their pictures could be.

    A roll by whole columns of latents is what the encoder makes of the rolled picture, but for the
    columns at the edges, where it sees the picture's end.

    Args:
        examples: the latents.
        rolls: evenly spaced columns to start at; 1 leaves them as they are.
        seed: what a draw's roll follows from, with its number.
    """

    def __init__(self, examples: LatentExamples, rolls: int, seed: int) -> None:
        self.examples, self.rolls, self.seed = examples, rolls, seed
        self.rows = examples.rows

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, key: Key) -> Example:
        example = self.examples[key]
        if self.rolls > 1:
            # Not the stream that chooses captions, which would tie wordings to places.
            rng = np.random.default_rng((self.seed, key[1], _ROLLS))
            width = example["latents"].shape[-1]
            shift = int(rng.integers(self.rolls)) * width // self.rolls
            example["latents"] = example["latents"].roll(shift, dims=-1)
        return example


_ROLLS = 1
"""Tells this stream of random numbers from others of one seed and draw."""
