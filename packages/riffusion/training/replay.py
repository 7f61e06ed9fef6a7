"""Old examples among new ones.

A network that only sees new examples forgets what it knew. Rehearsing old ones beside them is the
oldest remedy (Robins 1995), and for diffusion models known as prior preservation (Ruiz et al. 2022,
DreamBooth, section 3.3).
"""

import numpy as np
from torch.utils.data import Dataset

from riffusion.datasets.examples import Example, Examples, Key


class ReplayedExamples(Dataset[Example]):
    """New examples, some of whose draws are given to old ones.

    Of the first n draws, floor(n · share) are of old examples, evenly spread, so that every batch
    has its part. Old examples take turns in an order of their own.

    Args:
        new: as many as this data set seems to have.
        old: to be kept in mind.
        share: of the draws, in (0, 1).
        seed: of the old ones' order.
    """

    def __init__(self, new: Examples, old: Examples, share: float, seed: int) -> None:
        self.new, self.old, self.share, self.seed = new, old, share, seed

    def __len__(self) -> int:
        return len(self.new)

    def __getitem__(self, key: Key) -> Example:
        _, draw = key
        turn = int(draw * self.share)
        if int((draw + 1) * self.share) == turn:
            return self.new[key]
        epoch, place = divmod(turn, len(self.old))
        order = np.random.default_rng((self.seed, epoch, _REPLAY)).permutation(len(self.old))
        return self.old[int(order[place]), draw]


_REPLAY = 2
"""Tells this stream of random numbers from others of one seed and number."""
