"""What the pipeline needs of a checkpoint's networks, whatever library computes them.

PyTorch's are in `torch_networks`; `riffusion.light` has those that onnxruntime computes.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from riffusion.diffusion.arrays import Array
from riffusion.diffusion.loras import LoraStack
from riffusion.diffusion.random_numbers import NormalNumbers, TwisterNumbers

TokenIds = npt.NDArray[np.int64]


class TextEncoder(Protocol):
    """Embeds tokens."""

    @property
    def key(self) -> Hashable:
        """Changes when the weights do."""
        ...

    def encode(self, chunks: TokenIds, loras: LoraStack) -> Array:
        """Token ids (chunks, tokens) → (chunks, tokens, width)."""
        ...


class Autoencoder(Protocol):
    """Images ⇄ latents that are multiplied by its scaling factor."""

    @property
    def key(self) -> Hashable:
        """Changes when the weights do."""
        ...

    def posterior(self, pixels: Array) -> tuple[Array, Array]:
        """Mean and standard deviation of latents, (1, channels, height, width) float32 each.

        Args:
            pixels: (1, 3, height, width) in [-1, 1], anywhere.

        Raises:
            GenerationError: they aren't finite.
        """
        ...

    def decode(self, latents: Array) -> Array:
        """Latents → pixels, (batch, 3, height, width), approximately in [-1, 1]."""
        ...


class ArrayLibrary(Protocol):
    """Makes the arrays that networks take."""

    def numbers(self, seed: int) -> NormalNumbers:
        """The normal numbers of a seed from 0 to 2^63 - 1; the same in each library, to 2e-6."""
        ...

    def placed(self, array: Array) -> Array:
        """An array where the networks compute."""
        ...

    def noise_of_steps(self, scheduler: Any, numbers: NormalNumbers) -> Any:
        """What a scheduler draws its noise with."""
        ...


class NumpyLibrary:
    """NumPy's arrays."""

    def numbers(self, seed: int) -> NormalNumbers:
        """See `ArrayLibrary`."""
        return TwisterNumbers(seed)

    def placed(self, array: Array) -> Array:
        """See `ArrayLibrary`."""
        return np.asarray(array, np.float32)

    def noise_of_steps(self, scheduler: Any, numbers: NormalNumbers) -> NormalNumbers:
        """See `ArrayLibrary`."""
        del scheduler
        return numbers
