"""Collects the samples of a file while it is being decoded, and enforces the limits."""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from riffusion.audio.frames import MAX_PADDING
from riffusion.audio.speakers import stereo_weights
from riffusion.audio.waveform import MAX_SAMPLE_RATE_HZ, MIN_SAMPLE_RATE_HZ, num_samples_in
from riffusion.errors import MediaError

_MIX_BLOCK = 2**18
"""Samples that are mixed at once."""


class Limits(NamedTuple):
    """Limits of the decoded audio.

    Args:
        max_duration_s: longest audio in seconds, or None.
        max_samples: largest number of samples × channels.
    """

    max_duration_s: float | None
    max_samples: int

    def length(self, rate: int, num_channels: int) -> int:
        """Largest number of samples per channel."""
        length = self.max_samples // num_channels
        if self.max_duration_s is None:
            return length
        return min(length, num_samples_in("max_duration_s", self.max_duration_s, rate))

    def check(self, length: int, rate: int, num_channels: int) -> None:
        """Check a length in samples.

        Raises:
            MediaError: it exceeds a limit.
        """
        limit = self.length(rate, num_channels)
        if length > limit:
            raise MediaError(
                f"the audio is longer than {limit / rate:g} s, the limit for {num_channels} "
                f"channels at {rate} Hz; shorten it"
            )


class Blocks:
    """Decoded samples of one file, block by block.

    Args:
        rate: in Hz.
        num_channels: of the file.
        limits: of the whole audio.

    Raises:
        MediaError: the rate is out of range.
    """

    def __init__(self, rate: int, num_channels: int, limits: Limits) -> None:
        if not MIN_SAMPLE_RATE_HZ <= rate <= MAX_SAMPLE_RATE_HZ:
            raise MediaError(
                f"sample_rate={rate} of the file must be from {MIN_SAMPLE_RATE_HZ} to "
                f"{MAX_SAMPLE_RATE_HZ} Hz; resample it first"
            )
        self.rate = rate
        self.num_channels = num_channels
        self.length = 0
        self._limits = limits
        self._enough = limits.length(rate, num_channels) + MAX_PADDING
        self._blocks: list[npt.NDArray[Any]] = []

    def has_room(self, num_samples: int) -> bool:
        """Count the next samples; False if they are beyond the limit and need no decoding."""
        self.length += num_samples
        return self.length <= self._enough

    def add(self, block: npt.NDArray[Any]) -> None:
        """Add a block (channels, samples)."""
        self._blocks.append(block)

    def joined(self, end: int) -> npt.NDArray[Any]:
        """All samples up to `end`, (channels, end).

        Raises:
            MediaError: a limit is exceeded.
        """
        self._limits.check(end, self.rate, self.num_channels)
        return np.concatenate(self._blocks, axis=1)[:, :end]


def mixed_to_stereo(samples: npt.NDArray[Any], sides: str) -> npt.NDArray[Any]:
    """Mix integers by their channels' sides: (channels, T) → (2, T) of the same type."""
    weights = stereo_weights(sides)
    mixed = np.empty((2, samples.shape[1]), dtype=samples.dtype)
    for start in range(0, samples.shape[1], _MIX_BLOCK):
        part = slice(start, start + _MIX_BLOCK)
        mixed[:, part] = np.rint(weights @ samples[:, part])
    return mixed
