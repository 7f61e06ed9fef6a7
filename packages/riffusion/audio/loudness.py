"""Loudness that is the same from clip to clip, under a ceiling for the true peak.

Loudness is ITU-R BS.1770's integrated loudness (LUFS), true peak is its Annex 2 (dBTP). Music with
high peaks, such as drum loops, would have to stay quiet to fit under the ceiling; a look-ahead
limiter lowers the peaks alone, so that it reaches the target too.
"""

import math

import numpy as np
import numpy.typing as npt
from scipy.ndimage import maximum_filter1d

from riffusion.audio.segments import (
    AudioSegment,
    Waveform,
    resample,
    segment_from_waveform,
    waveform_from_segment,
    with_channels,
)
from riffusion.errors import InputError

TARGET_LUFS = -14.0
"""What streaming services play music at."""
TRUE_PEAK_DBTP = -1.0
"""EBU R 128's ceiling, which leaves room for the overshoot of lossy codecs."""

_BLOCK_S = 0.4
"""BS.1770's gating block: the shortest sound that has a loudness."""
_MAX_REDUCTION_DB = 12.0
"""Most that the limiter takes off a peak; beyond it, it would be heard."""
_TOLERANCE_LU = 0.05
_MAX_ROUNDS = 8
_MARGIN_DB = 0.1
"""Kept below the ceiling for rounding to integers and for meters that interpolate otherwise."""
_ATTACK_S = 0.005
"""The limiter's gain falls over this long before a peak, and as long after it starts to rise."""
_RELEASES_DB_PER_S = (40.0, 160.0, 640.0)
"""How fast the gain comes back after a peak: the first that reaches the target. 40 dB/s, 0.4 dB in
half a cycle of 50 Hz, leaves bass alone; the others are for drums in silence."""

_OVERSAMPLING = 8
_HALF_TAPS = 32
"""Samples on either side that the interpolation between two samples looks at."""
_KAISER_BETA = 8.0
_LOWEST_RATE_HZ = 8000
"""Below, BS.1770's high shelf at 1.5 kHz has no room; such sound is resampled to be measured."""

Signal = npt.NDArray[np.float64]
"""(…, samples)."""
Envelope = npt.NDArray[np.float64]
"""(samples,) of positive values."""


def measure_loudness(segment: AudioSegment) -> float:
    """Integrated loudness in LUFS; -inf for silence and what is below the gate of -70 LUFS.

    A clip shorter than the gating block of 400 ms is measured as if it were repeated. One channel
    counts as one loudspeaker: mono reads 3 LU less than the same sound on two channels. More
    channels than two are mixed to stereo.
    """
    return _loudness(waveform_from_segment(segment), segment.frame_rate)


def true_peak_db(segment: AudioSegment, *, circular: bool = False) -> float:
    """Peak of the continuous signal in dBTP, by 8-fold oversampling; -inf for silence.

    Args:
        segment: of any rate and channel count.
        circular: whether the end goes on at the start, as in a loop.
    """
    return _decibels(_peak(waveform_from_segment(segment), circular))


def normalize_loudness(
    segment: AudioSegment,
    target_lufs: float = TARGET_LUFS,
    true_peak_dbtp: float = TRUE_PEAK_DBTP,
    *,
    circular: bool = False,
) -> AudioSegment:
    """Bring a clip to a loudness, its true peak at or under a ceiling.

    Silence stays silence. Where the target would take more than 12 dB of limiting (a lone click),
    the clip stays quieter than the target. Length, rate, channels and sample width stay.

    Args:
        segment: of any rate and channel count.
        target_lufs: integrated loudness, from -70 to 0.
        true_peak_dbtp: ceiling, from -20 to 0.
        circular: the clip is a loop: the limiter looks around its ends, so that it leaves no seam.

    Raises:
        InputError: a target out of range.
    """
    waveform = normalize_waveform(
        waveform_from_segment(segment),
        segment.frame_rate,
        target_lufs,
        true_peak_dbtp,
        circular=circular,
    )
    return segment_from_waveform(waveform, segment.frame_rate, sample_width=segment.sample_width)


def normalize_waveform(
    waveform: Waveform,
    sample_rate: int,
    target_lufs: float = TARGET_LUFS,
    true_peak_dbtp: float = TRUE_PEAK_DBTP,
    *,
    circular: bool = False,
) -> Waveform:
    """`normalize_loudness` of a waveform (channels, samples), whose values may exceed full scale.

    Before rounding to integers, this is the better place: no gain of a quiet clip's rounding.

    Raises:
        InputError: a target out of range, or a value that is not finite.
    """
    _check_range("target_lufs", target_lufs, -70.0, 0.0)
    _check_range("true_peak_dbtp", true_peak_dbtp, -20.0, 0.0)
    if not np.isfinite(waveform).all():
        raise InputError("waveform holds NaN or infinite values; every sample must be finite")
    loudness = _loudness(waveform, sample_rate)
    if loudness == -math.inf:
        return _under_ceiling(waveform, true_peak_dbtp, circular)
    ceiling_db = true_peak_dbtp - _MARGIN_DB
    peaks_db = 20 * np.log10(np.maximum(_envelope(waveform, circular), 1e-12))
    gain_db = target_lufs - loudness
    highest_db = ceiling_db + _MAX_REDUCTION_DB - float(peaks_db.max())
    for release in _RELEASES_DB_PER_S:
        for _ in range(_MAX_ROUNDS):
            gain_db = min(gain_db, highest_db)
            over_db = peaks_db + gain_db - ceiling_db
            change_db = gain_db - _reduction(over_db, sample_rate, release, circular)
            result = (waveform * 10 ** (change_db / 20)).astype(np.float32)
            missing_lu = target_lufs - _loudness(result, sample_rate)
            if abs(missing_lu) < _TOLERANCE_LU:
                return _under_ceiling(result, true_peak_dbtp, circular)
            if missing_lu > 0 and gain_db == highest_db:
                break
            gain_db += 1.5 * missing_lu  # what the limiter took, and will take of that
    return _under_ceiling(result, true_peak_dbtp, circular)


def _reduction(
    over_db: Envelope, sample_rate: int, release_db_per_s: float, circular: bool
) -> Envelope:
    """Gain reduction in dB, (samples,), at least `over_db` at every sample and smooth.

    Three steps keep that bound. Release: a running maximum that falls by a constant slope. Look-
    ahead: the maximum over one attack on either side. Smoothing: a weighted mean over the same
    window, none of whose values is below the reduction needed in its middle.
    """
    over_db = np.maximum(over_db, 0.0)
    if not over_db.any():
        return over_db
    # A loop runs twice: the second turn knows how the first ended.
    turns = np.tile(over_db, 2) if circular else over_db
    slope = release_db_per_s / sample_rate * np.arange(turns.size)
    held = (np.maximum.accumulate(turns + slope) - slope)[-over_db.size :]
    half = max(1, round(_ATTACK_S * sample_rate))
    ahead = maximum_filter1d(held, 2 * half + 1, mode="wrap" if circular else "constant")
    window = np.hanning(2 * half + 3)[1:-1]
    padded = np.pad(ahead, half, mode="wrap" if circular else "edge")
    smooth = _convolve(padded, window / window.sum())
    return np.asarray(np.maximum(smooth, over_db))  # against the convolution's rounding


def _envelope(waveform: Waveform, circular: bool) -> Envelope:
    """Largest magnitude from the sample before to the sample after each, over all channels.

    Both neighbouring gaps count, so a smooth gain that bounds this envelope bounds the peaks that
    lie between two samples too.
    """
    peaks: Envelope = np.abs(waveform).max(axis=0).astype(np.float64)
    for phase in range(1, _OVERSAMPLING):
        between = np.abs(_between(waveform, phase / _OVERSAMPLING, circular)).max(axis=0)
        peaks = np.maximum(peaks, np.maximum(between[:-1], between[1:]))
    return peaks


def _between(waveform: Waveform, phase: float, circular: bool) -> npt.NDArray[np.float64]:
    """Band-limited interpolation: (channels, T) to (channels, T + 1).

    Value n lies at time n - 1 + phase, between samples n - 1 and n, by a Kaiser-windowed sinc over
    32 samples on either side. Beyond the ends is silence, or the other end if circular.
    """
    offsets = np.arange(_HALF_TAPS - 1, -_HALF_TAPS - 1, -1) + phase
    shape = np.sqrt(np.maximum(0.0, 1 - (offsets / _HALF_TAPS) ** 2))
    kernel = np.sinc(offsets) * np.i0(_KAISER_BETA * shape) / np.i0(_KAISER_BETA)
    padding = ((0, 0), (_HALF_TAPS, _HALF_TAPS))
    padded = np.pad(waveform.astype(np.float64), padding, mode="wrap" if circular else "constant")
    return _convolve(padded, kernel[None, ::-1])


def _convolve(signal: Signal, kernel: Signal) -> Signal:
    """Convolution along the last axis, where both overlap in full, by blocks of FFTs."""
    from scipy.signal import oaconvolve  # takes seconds, which many commands can do without

    return np.asarray(oaconvolve(signal, kernel, mode="valid", axes=-1))


def _peak(waveform: Waveform, circular: bool) -> float:
    """True peak as a factor of full scale; 0 without samples."""
    return float(_envelope(waveform, circular).max()) if waveform.size else 0.0


def _under_ceiling(waveform: Waveform, true_peak_dbtp: float, circular: bool) -> Waveform:
    """Turn the whole waveform down if its true peak is above the ceiling."""
    excess_db = _decibels(_peak(waveform, circular)) - (true_peak_dbtp - _MARGIN_DB)
    if excess_db <= 0:
        return waveform
    return np.asarray(waveform * 10 ** (-excess_db / 20), dtype=np.float32)


def _loudness(waveform: Waveform, sample_rate: int) -> float:
    num_samples = waveform.shape[1]
    if num_samples == 0:
        return -math.inf
    if waveform.shape[0] > 2:
        waveform = with_channels(waveform, 2)
    if sample_rate < _LOWEST_RATE_HZ:
        waveform, sample_rate = resample(waveform, sample_rate, 48000), 48000
    turns = math.ceil(_BLOCK_S * sample_rate / waveform.shape[1])
    samples = np.tile(waveform, max(1, turns)).T.astype(np.float64)
    import pyloudnorm  # as slow to import as scipy.signal

    return float(pyloudnorm.Meter(sample_rate, block_size=_BLOCK_S).integrated_loudness(samples))


def _decibels(amplitude: float) -> float:
    return 20 * math.log10(amplitude) if amplitude > 0 else -math.inf


def _check_range(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:  # also false for NaN
        raise InputError(f"{name}={value} must be from {low:g} to {high:g} dB")
