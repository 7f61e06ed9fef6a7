"""The normal numbers of PyTorch's CPU generator, in NumPy: the same seed gives the same noise.

PyTorch draws from a Mersenne Twister (MT19937) of 32-bit words. From 16 numbers on:

    u = (word mod 2^24) · 2^-24                                     for each number
    √(-2 ln(1 - u_j)) · cos(2π u_{j+8}), then the same with sin     j = 0 … 7 of each block of 16

which is the Box-Muller transform. If the size isn't a multiple of 16, 16 further words are drawn,
and the last 16 numbers are redrawn from them. Fewer than 16 numbers are made one by one in double
precision, from two words each per uniform number; the second number of a pair is kept for the next
such draw. (PyTorch 2.11: `DistributionTemplates.h`, `DistributionsHelper.h` and
`MT19937RNGEngine.h` in ATen.)

Logarithm, sine and cosine are rounded by NumPy's functions, so the numbers differ from PyTorch's by
up to 2e-6, as those of PyTorch differ from processor to processor.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from riffusion.spectrogram.image import FloatArray

_BLOCK = 16
_HALF_BLOCK = 8
_FLOAT_BITS = 24
"""Bits of a uniform number in single precision."""
_DOUBLE_BITS = 53
"""Bits of a uniform number in double precision."""


class NormalNumbers(Protocol):
    """A stream of normal numbers, which a seed begins."""

    def normal(self, shape: Sequence[int]) -> FloatArray:
        """The next numbers, mean 0 and variance 1, float32."""
        ...


def mersenne_twister_key(seed: int) -> np.ndarray[Any, np.dtype[np.uint32]]:
    """The Mersenne Twister's 624 words for a seed; they differ for any two seeds below 2^64.

    A seed below 2^32 is PyTorch's own; PyTorch would use only the low 32 bits of a larger one.

    Args:
        seed: from 0 to 2^63 - 1.
    """
    halves = seed if seed < 2**32 else [seed % 2**32, seed // 2**32]
    key: np.ndarray[Any, np.dtype[np.uint32]] = np.random.RandomState(halves).get_state(
        legacy=False
    )["state"]["key"]
    return key


class TwisterNumbers:
    """`torch.randn` with a CPU generator, without PyTorch.

    Args:
        seed: from 0 to 2^63 - 1; see `mersenne_twister_key`.
    """

    def __init__(self, seed: int) -> None:
        self._words = np.random.MT19937()
        key = mersenne_twister_key(seed)
        self._words.state = {"bit_generator": "MT19937", "state": {"key": key, "pos": len(key)}}
        self._kept: float | None = None

    def normal(self, shape: Sequence[int]) -> FloatArray:
        """The next numbers, mean 0 and variance 1, float32."""
        size = math.prod(shape)
        if size < _BLOCK:
            numbers = np.array([self._single() for _ in range(size)], dtype=np.float32)
            return numbers.reshape(shape)
        uniform = self._uniform(size)
        whole = size - size % _BLOCK
        numbers = np.empty(size, np.float32)
        numbers[:whole] = _box_muller(uniform[:whole])
        if whole < size:
            numbers[-_BLOCK:] = _box_muller(self._uniform(_BLOCK))
        return numbers.reshape(shape)

    def _uniform(self, size: int) -> FloatArray:
        words = self._words.random_raw(size) & np.uint64(2**_FLOAT_BITS - 1)
        return words.astype(np.float32) * np.float32(2.0**-_FLOAT_BITS)

    def _single(self) -> float:
        if self._kept is not None:
            number, self._kept = self._kept, None
            return number
        turn, radius = self._uniform_double(), self._uniform_double()
        radius = math.sqrt(-2 * math.log1p(-radius))
        self._kept = radius * math.sin(2 * math.pi * turn)
        return radius * math.cos(2 * math.pi * turn)

    def _uniform_double(self) -> float:
        high, low = (int(word) for word in self._words.random_raw(2))
        return float(((high << 32) | low) & (2**_DOUBLE_BITS - 1)) * 2.0**-_DOUBLE_BITS


def _box_muller(uniform: FloatArray) -> FloatArray:
    """Uniform numbers, a multiple of 16, → as many normal ones."""
    blocks = uniform.reshape(-1, 2, _HALF_BLOCK)
    radius = np.sqrt(-2 * np.log(1 - blocks[:, 0]))
    angle = np.float32(2 * math.pi) * blocks[:, 1]
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1).reshape(-1)
