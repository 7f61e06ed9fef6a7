"""Audio as float32 waveforms: the type that the code inside works on, resampling and mixing."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from riffusion.audio.polyphase import filter_half_width, resample_polyphase
from riffusion.audio.speakers import DEFAULT_SIDES, stereo_weights
from riffusion.errors import InputError

if TYPE_CHECKING:
    import torch  # tensors are accepted, but nothing here needs torch

Waveform = npt.NDArray[np.float32]
"""(channels, samples) float32, full scale is [-1, 1]."""

MIN_SAMPLE_RATE_HZ = 1000
MAX_SAMPLE_RATE_HZ = 384_000

_MAX_PRODUCT = 2**20
"""Largest product of a reduced rate ratio for which the polyphase filter's matrix stays small."""


@dataclass(frozen=True, eq=False)
class Audio:
    """A waveform and its sample rate.

    Args:
        waveform: (channels, samples) floats, full scale is [-1, 1]; larger values are allowed and
            clip only when they are rounded to integers. Converted to float32 on the CPU.
        sample_rate: in Hz.

    Raises:
        InputError: wrong shape or type, or a rate out of range.
    """

    waveform: Waveform
    sample_rate: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "waveform", as_waveform(self.waveform))
        check_sample_rate("sample_rate", self.sample_rate)

    @property
    def num_channels(self) -> int:
        return len(self.waveform)

    @property
    def num_samples(self) -> int:
        """Samples per channel."""
        return int(self.waveform.shape[1])

    @property
    def duration_s(self) -> float:
        return self.num_samples / self.sample_rate


def num_samples_in(name: str, duration_s: float, sample_rate: int) -> int:
    """Number of samples in a duration, rounded to the nearest.

    Raises:
        InputError: `duration_s`, called `name` in the message, is negative or not finite.
    """
    if not math.isfinite(duration_s) or duration_s < 0:
        raise InputError(f"{name}={duration_s} must be a finite number of seconds, 0 or more")
    return round(duration_s * sample_rate)


def resample(
    waveform: npt.NDArray[np.floating] | torch.Tensor, from_hz: int, to_hz: int
) -> Waveform:
    """Change the sample rate: (channels, T) to (channels, round(T · to_hz / from_hz)).

    A waveform that isn't empty yields at least one sample. Frequencies above half the lower rate
    are removed. The signal is taken as silent beyond its ends.

    Raises:
        InputError: wrong shape or type, or a rate out of range.
    """
    array = as_waveform(waveform)
    check_sample_rate("from_hz", from_hz)
    check_sample_rate("to_hz", to_hz)
    if from_hz == to_hz or array.shape[1] == 0:
        return array
    length = max(1, round(Fraction(array.shape[1] * to_hz, from_hz)))
    common = math.gcd(from_hz, to_hz)
    up, down = to_hz // common, from_hz // common
    if up * down <= _MAX_PRODUCT:
        result = resample_polyphase(array, up, down)
    else:
        # For ratios such as 44101 to 48000 Hz the matrix would take gigabytes. One Fourier
        # transform over a whole number of periods of the ratio does instead, with silence between
        # the end and the start.
        from scipy.signal import resample as fourier_resample  # slow to import and rarely needed

        periods = -(-(array.shape[1] + filter_half_width(up, down)) // down)
        padded = np.pad(array, ((0, 0), (0, periods * down - array.shape[1])))
        result = fourier_resample(padded, periods * up, axis=1)
    return np.ascontiguousarray(result[:, :length], dtype=np.float32)


def with_channels(waveform: npt.NDArray[np.floating] | torch.Tensor, num_channels: int) -> Waveform:
    """Mix to mono or to stereo: (channels, T) to (num_channels, T).

    Three to eight channels are taken to be in FFmpeg's default order. To mono, the result is the
    mean of all channels except the one for low-frequency effects. To stereo, mono is copied to both
    sides; centre channels go to both sides at -3 dB, the low-frequency effects are left out, and
    each side is a weighted mean, so it never clips. With more than eight channels, both sides are
    the mean of all.

    Raises:
        InputError: wrong shape or type, no channel, or `num_channels` other than 1 and 2.
    """
    array = as_waveform(waveform)
    count = array.shape[0]
    if num_channels not in (1, 2):
        raise InputError(f"num_channels={num_channels} must be 1 or 2")
    if count == num_channels:
        return array
    sides = DEFAULT_SIDES.get(count, "")
    if num_channels == 1:
        heard = array if "-" not in sides else np.delete(array, sides.index("-"), axis=0)
        return np.asarray(heard.mean(axis=0, keepdims=True))
    weights = stereo_weights(sides) if sides else np.full((2, count), 1 / count)
    return np.asarray(weights @ array, dtype=np.float32)


def as_waveform(waveform: npt.NDArray[np.floating] | torch.Tensor) -> Waveform:
    """Check that floats have the shape (channels, samples), and convert them to float32 on the CPU.

    Raises:
        InputError: wrong shape or type.
    """
    if isinstance(waveform, np.ndarray):
        array = waveform
    elif hasattr(waveform, "detach"):  # a tensor
        tensor = waveform.float() if waveform.is_floating_point() else waveform
        array = tensor.detach().cpu().numpy()
    else:
        array = np.asarray(waveform)
    if array.dtype.kind != "f":
        raise InputError(
            f"waveform.dtype={array.dtype} must be a float type with values in [-1, 1]; "
            "divide integers by their full scale"
        )
    if array.ndim != 2 or array.shape[0] == 0:
        raise InputError(
            f"waveform.shape={array.shape} must be (channels, samples) with at least one channel; "
            "write waveform[None] for a flat mono signal"
        )
    with np.errstate(over="ignore"):  # float64 beyond float32 becomes infinite, and is reported
        return array.astype(np.float32, copy=False)


def check_sample_rate(name: str, rate: int) -> None:
    """Check a sample rate, called `name` in the message.

    Raises:
        InputError: it isn't a whole number, or out of range.
    """
    whole = not isinstance(rate, bool) and math.isfinite(rate) and rate == int(rate)
    if not whole or not MIN_SAMPLE_RATE_HZ <= rate <= MAX_SAMPLE_RATE_HZ:
        raise InputError(
            f"{name}={rate} must be a whole number of Hz from {MIN_SAMPLE_RATE_HZ} to "
            f"{MAX_SAMPLE_RATE_HZ}; 44100 is the usual rate"
        )
