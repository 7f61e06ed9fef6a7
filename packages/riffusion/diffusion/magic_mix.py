"""Magic mix: the layout of one clip with the details of another text."""

from dataclasses import dataclass

import numpy as np

from riffusion.errors import InputError
from riffusion.spectrogram.image import FloatArray


@dataclass(frozen=True)
class MagicMix:
    """Layout from one clip, details from the prompt (Liew et al., "MagicMix", 2022).

    Denoising begins at the noise level `high`. Down to the level `low`, the latents of each step
    are mixed with those of the layout at the same noise; from there on, the prompt alone decides.

    Args:
        share: share of the prompt's latents in the mix, from 0 to 1; ν in the paper.
        low, high: shares of the steps, 0 ≤ low < high ≤ 1; k_min and k_max over the number of
            steps in the paper, whose values they have by default.

    Raises:
        InputError: a value is out of range.
    """

    share: float = 0.5
    low: float = 0.3
    high: float = 0.6

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:  # NaN fails, too
            raise InputError(f"{self.share:g} must be from 0 to 1", "magic_mix")
        if not 0 < self.high <= 1:
            raise InputError(f"{self.high:g} must be above 0, and at most 1", "mix_to")
        if not 0 <= self.low < self.high:
            raise InputError(
                f"{self.low:g} must be from 0 to below mix_to={self.high:g}", "mix_from"
            )

    @property
    def repaint(self) -> FloatArray:
        """The share as that of repainting, for each latent: (1, 1, 1, 1)."""
        return np.full((1, 1, 1, 1), self.share, np.float32)
