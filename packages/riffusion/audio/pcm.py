"""Integer samples, as pydub's segments and the encoders hold them, and rounding to them."""

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from riffusion.audio.waveform import Waveform, resample, with_channels
from riffusion.errors import InputError

Samples = npt.NDArray[np.signedinteger]
"""(channels, samples) of int8, int16 or int32; full scale is 2^(bits - 1)."""

SAMPLE_TYPES = {1: np.int8, 2: np.int16, 4: np.int32}
"""Sample types by their width in bytes."""


@dataclass(frozen=True, eq=False)
class Pcm:
    """Integer samples and their sample rate in Hz."""

    samples: Samples
    sample_rate: int

    @property
    def num_channels(self) -> int:
        return len(self.samples)

    @property
    def num_samples(self) -> int:
        """Samples per channel."""
        return int(self.samples.shape[1])

    @property
    def sample_width(self) -> int:
        """Bytes per sample: 1, 2 or 4."""
        return self.samples.dtype.itemsize

    @property
    def waveform(self) -> Waveform:
        return waveform_from_samples(self.samples)

    @property
    def format(self) -> str:
        """Rate, channels and width, in words; equal for equal formats."""
        channels = "1 channel" if self.num_channels == 1 else f"{self.num_channels} channels"
        return f"{self.sample_rate} Hz, {channels}, {8 * self.sample_width} bits"

    def converted(self, sample_rate: int, num_channels: int) -> Self:
        """The same audio at another rate, mixed to mono or stereo, rounded to the same width.

        Raises:
            InputError: as `resample` and `with_channels`.
        """
        if (sample_rate, num_channels) == (self.sample_rate, self.num_channels):
            return self
        waveform = self.waveform
        if num_channels != self.num_channels:
            waveform = with_channels(waveform, num_channels)
        waveform = resample(waveform, self.sample_rate, sample_rate)
        return type(self)(samples_from_waveform(waveform, self.sample_width), sample_rate)


def samples_from_waveform(waveform: Waveform, sample_width: int = 2) -> Samples:
    """Round a waveform to integers; values beyond full scale clip, they never wrap around.

    Args:
        waveform: (channels, samples) in [-1, 1].
        sample_width: bytes per sample of the result: 1, 2 or 4.

    Raises:
        InputError: a value that isn't finite, or another width.
    """
    if not np.isfinite(waveform).all():
        raise InputError(
            "waveform holds NaN or infinite values; every sample must be finite, look for a "
            "division by zero where it was made"
        )
    if sample_width not in SAMPLE_TYPES:
        raise InputError(f"sample_width={sample_width} must be 1, 2 or 4 bytes; 2 is the usual one")
    full_scale = 2.0 ** (8 * sample_width - 1)
    # float32 represents every integer of 16 bits, and scaling by a power of two is exact.
    dtype = np.float32 if sample_width <= 2 else np.float64
    with np.errstate(over="ignore"):  # a value that becomes infinite clips
        scaled: npt.NDArray[np.floating] = np.multiply(waveform, full_scale, dtype=dtype)
    np.rint(scaled, out=scaled)
    np.clip(scaled, -full_scale, full_scale - 1, out=scaled)
    return scaled.astype(SAMPLE_TYPES[sample_width])


def waveform_from_samples(samples: Samples) -> Waveform:
    """The waveform of integer samples, float32 in [-1, 1].

    `samples_from_waveform` with the same width is the exact inverse up to 16 bits; of 32 bits,
    float32 keeps 24.
    """
    full_scale = 2.0 ** (8 * samples.dtype.itemsize - 1)
    waveform = samples.astype(np.float32)
    waveform /= full_scale
    return waveform


def rounded_to_24_bits(samples: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    """Samples of 32 bits, rounded to 24; the lowest 8 bits of the result are 0."""
    rounded = np.minimum((samples.astype(np.int64) + 128) >> 8, 2**23 - 1)
    return np.asarray(rounded << 8, dtype=np.int32)
