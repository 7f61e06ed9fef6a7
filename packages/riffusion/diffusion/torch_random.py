"""Seeded normal numbers from PyTorch's CPU generator."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from riffusion.diffusion.geometry import LatentGeometry
from riffusion.diffusion.random_numbers import mersenne_twister_key
from riffusion.spectrogram.image import FloatArray

_STATE_OFFSET = 24
"""Bytes before the Mersenne Twister's 624 words in the state of torch's CPU generator."""


class TorchNumbers:
    """`NormalNumbers` of PyTorch.

    Args:
        seed: from 0 to 2^63 - 1.

    Attributes:
        generator: the generator that they are drawn from.
    """

    def __init__(self, seed: int) -> None:
        self.generator = generator_from_seed(seed)

    def normal(self, shape: Sequence[int]) -> FloatArray:
        """The next numbers, mean 0 and variance 1, float32."""
        numbers: FloatArray = torch.randn(tuple(shape), generator=self.generator).numpy()
        return numbers


def noise_from_seed(seed: int, geometry: LatentGeometry, num_channels: int) -> torch.Tensor:
    """`draw_noise` with a new generator of that seed."""
    return draw_noise(generator_from_seed(seed), geometry, num_channels)


def draw_noise(
    generator: torch.Generator, geometry: LatentGeometry, num_channels: int
) -> torch.Tensor:
    """Gaussian noise in latent space, (1, channels, height, width) float32, mean 0, variance 1.

    It is drawn on the CPU, so that a seed gives the same clip on every device.
    """
    width, height = geometry.latent_size
    return torch.randn((1, num_channels, height, width), generator=generator)


def generator_from_seed(seed: int) -> torch.Generator:
    """A generator on the CPU whose numbers differ for any two seeds from 0 to 2^63 - 1.

    torch's own CPU generator uses the low 32 bits of a seed only. Seeds below 2^32 go to it as they
    are; for larger seeds, its state is the Mersenne Twister's that NumPy makes from both halves.
    """
    generator = torch.Generator("cpu").manual_seed(seed % 2**32)
    if seed >= 2**32:
        key = mersenne_twister_key(seed)
        state = generator.get_state().numpy()
        words = state[_STATE_OFFSET:].view(np.uint64)
        words[: key.size] = key
        generator.set_state(torch.from_numpy(state))
    return generator
