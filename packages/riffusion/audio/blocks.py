"""Collects the samples of a stream while it is being decoded, and enforces the limits.

The samples go into a part, which is in memory or in a file, so that there is one decoder for both.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from riffusion.audio.frames import MAX_PADDING
from riffusion.audio.speakers import stereo_weights
from riffusion.audio.waveform import MAX_SAMPLE_RATE_HZ, MIN_SAMPLE_RATE_HZ, num_samples_in
from riffusion.errors import MediaError

CHANGE_BLOCK = 2**18
"""Samples that are changed at once."""

Change = Callable[[npt.NDArray[Any]], npt.NDArray[Any]]
"""Changes a block of samples, (channels, samples); each sample by itself."""


class Limits(NamedTuple):
    """Limits of the decoded audio.

    Args:
        max_duration_s: longest audio in seconds, or None.
        max_samples: largest number of samples × channels.
        max_channels: largest number of channels, or None.
    """

    max_duration_s: float | None
    max_samples: int
    max_channels: int | None = None

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


class Part(Protocol):
    """The samples of one stream, in memory or in a file."""

    def append(self, block: npt.NDArray[Any]) -> None:
        """Add a block (channels, samples) of int16 or int32; all blocks have the same type."""

    def cut(self, length: int) -> None:
        """Keep only the first `length` samples."""

    def change(self, change: Change) -> None:
        """Change all samples, in blocks of `CHANGE_BLOCK`; the result has no more bytes."""

    @property
    def num_channels(self) -> int:
        """Channels of the samples, after all changes."""

    @property
    def num_samples(self) -> int:
        """Samples per channel."""


class MemoryPart:
    """A part in memory."""

    def __init__(self) -> None:
        self._blocks: list[npt.NDArray[Any]] = []

    @property
    def num_channels(self) -> int:
        return len(self._blocks[0])

    @property
    def num_samples(self) -> int:
        return sum(int(block.shape[1]) for block in self._blocks)

    def append(self, block: npt.NDArray[Any]) -> None:
        self._blocks.append(block)

    def cut(self, length: int) -> None:
        self._blocks = [np.concatenate(self._blocks, axis=1)[:, :length]]

    def change(self, change: Change) -> None:
        self._blocks = [change(block) for block in _blocks_of(self.samples())]

    def samples(self) -> npt.NDArray[Any]:
        """All samples, (channels, samples)."""
        if len(self._blocks) > 1:
            self._blocks = [np.concatenate(self._blocks, axis=1)]
        return self._blocks[0]


def _blocks_of(samples: npt.NDArray[Any]) -> Iterator[npt.NDArray[Any]]:
    for start in range(0, max(samples.shape[1], 1), CHANGE_BLOCK):
        yield samples[:, start : start + CHANGE_BLOCK]


class Blocks:
    """Decoded samples of one stream, block by block.

    Args:
        rate: in Hz.
        num_channels: of the file.
        limits: of the whole audio.
        part: receives the samples.

    Raises:
        MediaError: the rate is out of range, or there are too many channels.
    """

    def __init__(self, rate: int, num_channels: int, limits: Limits, part: Part) -> None:
        if not MIN_SAMPLE_RATE_HZ <= rate <= MAX_SAMPLE_RATE_HZ:
            raise MediaError(
                f"sample_rate={rate} of the file must be from {MIN_SAMPLE_RATE_HZ} to "
                f"{MAX_SAMPLE_RATE_HZ} Hz; resample it first"
            )
        if limits.max_channels is not None and num_channels > limits.max_channels:
            raise MediaError(
                f"the file has {num_channels} channels; at most {limits.max_channels} are "
                "supported here, so mix it to stereo first"
            )
        self.rate = rate
        self.num_channels = num_channels
        self.length = 0
        self._limits = limits
        self._enough = limits.length(rate, num_channels) + MAX_PADDING
        self._part = part

    def has_room(self, num_samples: int) -> bool:
        """Count the next samples; False if they are beyond the limit and need no decoding."""
        self.length += num_samples
        return self.length <= self._enough

    def add(self, block: npt.NDArray[Any]) -> None:
        """Add a block (channels, samples)."""
        self._part.append(block)

    def end_at(self, end: int) -> None:
        """Keep all samples up to `end`.

        Raises:
            MediaError: a limit is exceeded.
        """
        self._limits.check(end, self.rate, self.num_channels)
        self._part.cut(end)


def mixed_to_stereo(samples: npt.NDArray[Any], sides: str) -> npt.NDArray[Any]:
    """Mix integers by their channels' sides: (channels, T) → (2, T) of the same type."""
    mixed: npt.NDArray[Any] = np.rint(stereo_weights(sides) @ samples).astype(samples.dtype)
    return mixed
