"""Waveforms (channels, samples) and pydub's AudioSegment, and the conversions between them.

pydub is imported here and nowhere else, and only its class is used: nothing that starts a process.
An AudioSegment holds signed integers of 1, 2 or 4 bytes; full scale is 2^(bits - 1).
"""

import functools
import math
import warnings
from fractions import Fraction

import numpy as np
import numpy.typing as npt
import torch
import torchaudio.transforms

from riffusion.errors import InputError

with warnings.catch_warnings():
    # pydub's source has invalid escapes and imports audioop, and it warns where no ffmpeg program
    # is installed; none is needed here.
    warnings.simplefilter("ignore")
    from pydub import AudioSegment

__all__ = [
    "MAX_SAMPLE_RATE_HZ",
    "MIN_SAMPLE_RATE_HZ",
    "AudioSegment",
    "Waveform",
    "convert",
    "num_samples",
    "num_samples_in",
    "resample",
    "samples_from_segment",
    "segment_from_samples",
    "segment_from_waveform",
    "waveform_from_segment",
    "with_channels",
]

Waveform = npt.NDArray[np.float32]
"""(channels, samples) float32, full scale is [-1, 1]."""
Samples = npt.NDArray[np.signedinteger]
"""(channels, samples) of int8, int16 or int32."""

MIN_SAMPLE_RATE_HZ = 1000
MAX_SAMPLE_RATE_HZ = 384_000

_DTYPES = {1: np.int8, 2: np.int16, 4: np.int32}
_MAX_KERNEL = 2**20
"""Largest product of a reduced rate ratio for which torchaudio's dense kernel stays small."""
_LOWPASS_WIDTH = 64
_ROLLOFF = 0.9475937167399596
_KAISER_BETA = 14.769656459379492
"""Kaiser-windowed sinc with a stop band below -140 dB; the values of resampy's `kaiser_best`."""
_SIDES = {3: "LRC", 4: "LRLR", 5: "LRCLR", 6: "LRC-LR", 7: "LRC-CLR", 8: "LRC-LRLR"}
"""Where each channel of FFmpeg's default layouts sits; `-` is the low-frequency effects channel."""


def segment_from_waveform(
    waveform: npt.NDArray[np.floating] | torch.Tensor, sample_rate: int, *, sample_width: int = 2
) -> AudioSegment:
    """Round a waveform to integers; values beyond full scale clip, they never wrap around.

    Args:
        waveform: (channels, samples), floats in [-1, 1].
        sample_rate: in Hz.
        sample_width: bytes of one sample of the result, 1, 2 or 4.

    Raises:
        InputError: wrong shape or type, a value that is not finite, or a rate out of range.
    """
    array = _as_waveform(waveform)
    _check_rate("sample_rate", sample_rate)
    if not np.isfinite(array).all():
        raise InputError(
            "waveform holds NaN or infinite values; every sample must be finite, look for a "
            "division by zero where it was made"
        )
    if sample_width not in _DTYPES:
        raise InputError(f"sample_width={sample_width} must be 1, 2 or 4 bytes; 2 is the usual one")
    full_scale = 2.0 ** (8 * sample_width - 1)
    scaled = np.rint(array.astype(np.float64) * full_scale)
    samples = np.clip(scaled, -full_scale, full_scale - 1).astype(_DTYPES[sample_width])
    return segment_from_samples(samples, sample_rate)


def waveform_from_segment(segment: AudioSegment) -> Waveform:
    """The waveform of a segment of any channel count and sample width, float32 in [-1, 1].

    `segment_from_waveform` with the segment's sample width is the exact inverse up to 16 bits;
    of 32 bits, float32 keeps 24.
    """
    samples = samples_from_segment(segment)
    full_scale = 2.0 ** (8 * segment.sample_width - 1)
    return np.asarray(samples / full_scale, dtype=np.float32)


def samples_from_segment(segment: AudioSegment) -> Samples:
    """The segment's integers, (channels, samples), of its own sample width."""
    dtype = _DTYPES[segment.sample_width]
    return np.frombuffer(segment.raw_data, dtype=dtype).reshape(-1, segment.channels).T


def segment_from_samples(samples: Samples, sample_rate: int) -> AudioSegment:
    """A segment of int8, int16 or int32 samples, (channels, samples); exact."""
    return AudioSegment(
        np.ascontiguousarray(samples.T).tobytes(),
        sample_width=samples.dtype.itemsize,
        frame_rate=int(sample_rate),
        channels=samples.shape[0],
    )


def num_samples(segment: AudioSegment) -> int:
    """Samples per channel, exact (pydub's `len` is in rounded milliseconds)."""
    return len(segment.raw_data) // int(segment.sample_width * segment.channels)


def num_samples_in(name: str, duration_s: float, sample_rate: int) -> int:
    """Samples of a duration, rounded to the nearest.

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

    The result of a waveform that isn't empty has at least one sample. What lies above half of the
    lower rate is removed; beyond the ends is silence.

    Raises:
        InputError: wrong shape or type, or a rate out of range.
    """
    array = _as_waveform(waveform)
    _check_rate("from_hz", from_hz)
    _check_rate("to_hz", to_hz)
    if from_hz == to_hz or array.shape[1] == 0:
        return array
    length = max(1, round(Fraction(array.shape[1] * to_hz, from_hz)))
    common = math.gcd(from_hz, to_hz)
    up, down = to_hz // common, from_hz // common
    if up * down <= _MAX_KERNEL:
        result = _resampler(up, down)(torch.tensor(array)).numpy()
    else:
        # Such as 44101 to 48000 Hz, where the kernel would take gigabytes: in one Fourier transform
        # of a whole number of periods of the ratio, with silence between the end and the start.
        from scipy.signal import resample as fourier_resample  # slow to import, and seldom needed

        periods = -(-(array.shape[1] + _LOWPASS_WIDTH * (1 + down // up)) // down)
        padded = np.pad(array, ((0, 0), (0, periods * down - array.shape[1])))
        result = fourier_resample(padded, periods * up, axis=1)
    return np.ascontiguousarray(result[:, :length], dtype=np.float32)


@functools.lru_cache(maxsize=16)
def _resampler(up: int, down: int) -> torchaudio.transforms.Resample:
    """The resampler of a ratio; its kernel takes longer to make than to apply."""
    return torchaudio.transforms.Resample(
        down,
        up,
        resampling_method="sinc_interp_kaiser",
        lowpass_filter_width=_LOWPASS_WIDTH,
        rolloff=_ROLLOFF,
        beta=_KAISER_BETA,
    )


def with_channels(waveform: npt.NDArray[np.floating] | torch.Tensor, num_channels: int) -> Waveform:
    """Mix to mono, the mean of all channels, or to stereo: (channels, T) to (num_channels, T).

    Mono is copied to both sides. Three to eight channels are in FFmpeg's default order: centres
    count for both sides at -3 dB, the effects channel is left out, and each side is a weighted
    mean, so it never clips. With more channels both sides are the mean of all.

    Raises:
        InputError: wrong shape or type, no channel, or `num_channels` other than 1 and 2.
    """
    array = _as_waveform(waveform)
    count = array.shape[0]
    if num_channels not in (1, 2):
        raise InputError(f"num_channels={num_channels} must be 1 or 2")
    if count == num_channels:
        return array
    if num_channels == 1:
        return np.asarray(array.mean(axis=0, keepdims=True))
    weights = np.full((2, count), 1.0)
    for channel, side in enumerate(_SIDES.get(count, "")):
        weights[:, channel] = {"L": (1, 0), "R": (0, 1), "C": (0.5**0.5,) * 2, "-": (0, 0)}[side]
    weights /= weights.sum(axis=1, keepdims=True)
    return np.asarray(weights @ array, dtype=np.float32)


def convert(
    segment: AudioSegment, *, sample_rate: int | None = None, channels: int | None = None
) -> AudioSegment:
    """The segment at another sample rate, in mono (1) or stereo (2); its sample width stays.

    Raises:
        InputError: as `resample` and `with_channels`.
    """
    rate = sample_rate or segment.frame_rate
    if rate == segment.frame_rate and channels in (None, segment.channels):
        return segment
    waveform = waveform_from_segment(segment)
    if channels is not None:
        waveform = with_channels(waveform, channels)
    waveform = resample(waveform, segment.frame_rate, rate)
    return segment_from_waveform(waveform, rate, sample_width=segment.sample_width)


def _as_waveform(waveform: npt.NDArray[np.floating] | torch.Tensor) -> Waveform:
    """Check the shape (channels, samples) and the type, and convert to float32 on the CPU."""
    if isinstance(waveform, torch.Tensor):
        if waveform.is_floating_point():
            waveform = waveform.detach().float()
        waveform = waveform.detach().cpu().numpy()
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


def _check_rate(name: str, rate: int) -> None:
    whole = not isinstance(rate, bool) and math.isfinite(rate) and rate == int(rate)
    if not whole or not MIN_SAMPLE_RATE_HZ <= rate <= MAX_SAMPLE_RATE_HZ:
        raise InputError(
            f"{name}={rate} must be a whole number of Hz from {MIN_SAMPLE_RATE_HZ} to "
            f"{MAX_SAMPLE_RATE_HZ}; 44100 is the usual rate"
        )
