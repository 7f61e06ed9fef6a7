"""Mixes old examples among the new ones of fine-tuning.

A network that only sees new examples forgets what it learned before. Rehearsing old examples is the
oldest remedy (Robins 1995); for diffusion models it is known as prior preservation (Ruiz et al.
2022, DreamBooth, section 3.3).
"""

import numpy as np
from torch.utils.data import Dataset

from riffusion.datasets.examples import REPLAY_STREAM, Example, Examples, Key


class ReplayedExamples(Dataset[Example]):
    """New examples, with a share of the draws replaced by old examples.

    Of the first n draws, floor(n · share) are old examples, evenly spaced, so every batch has about
    the same share. Each epoch of the old examples is a permutation of its own.

    Args:
        new: the new examples; they determine the length of this data set.
        old: the old examples.
        share: share of the draws, in (0, 1).
        seed: determines the order of the old examples.
    """

    def __init__(self, new: Examples, old: Examples, share: float, seed: int) -> None:
        self.new, self.old, self.share, self.seed = new, old, share, seed
        self._epoch, self._order = -1, np.empty(0, dtype=np.int64)

    def __len__(self) -> int:
        return len(self.new)

    def __getitem__(self, key: Key) -> Example:
        _, draw = key
        old_draw = int(draw * self.share)
        if int((draw + 1) * self.share) == old_draw:
            return self.new[key]
        epoch, position = divmod(old_draw, len(self.old))
        if epoch != self._epoch:
            rng = np.random.default_rng((self.seed, epoch, REPLAY_STREAM))
            self._epoch, self._order = epoch, rng.permutation(len(self.old))
        return self.old[int(self._order[position]), draw]
