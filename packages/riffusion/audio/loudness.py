"""Normalises clips to one loudness, with a ceiling for the true peak.

Loudness is the integrated loudness of ITU-R BS.1770 (LUFS), true peak is that of its Annex 2
(dBTP). Music with high peaks, such as drum loops, would have to stay quiet to fit under the
ceiling; a look-ahead limiter lowers the peaks alone, so that it reaches the target too.
"""

import math
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from riffusion.audio.convolution import convolutions
from riffusion.audio.limiter import Limiter
from riffusion.audio.loudness_meter import Signal, gated_loudness, repeated, weighted_powers
from riffusion.audio.waveform import Waveform, resample, with_channels
from riffusion.errors import InputError
from riffusion.runtime.shared_work import together

TARGET_LUFS = -14.0
"""The loudness at which streaming services play music."""
TRUE_PEAK_DBTP = -1.0
"""The ceiling of EBU R 128, which leaves room for the overshoot of lossy codecs."""

_RELATIVE_GATE = 0.1
_TOLERANCE_LU = 0.05
_MAX_ATTEMPTS = 6
_MARGIN_DB = 0.1
"""Margin below the ceiling, for rounding to integers and for differences between meters."""
_OVERSAMPLING = 8
_PHASES = tuple(phase / _OVERSAMPLING for phase in range(1, _OVERSAMPLING))
_HALF_TAPS = 32
"""Samples on either side that are used to interpolate between two samples."""
_KAISER_BETA = 8.0
_LOWEST_RATE_HZ = 8000
"""Lowest rate that leaves room for BS.1770's high shelf at 1.5 kHz; audio below it is resampled for
the measurement."""

Envelope = npt.NDArray[np.float64]
"""(samples,) of positive values."""


def measure_loudness(waveform: Waveform, sample_rate: int) -> float:
    """Integrated loudness in LUFS; -inf for silence and for audio below the gate of -70 LUFS.

    A clip shorter than the gating block of 400 ms is measured as if it were repeated. One channel
    counts as one loudspeaker: mono reads 3 LU less than the same signal on two channels. More than
    two channels are mixed to stereo.

    Args:
        waveform: (channels, samples), full scale is [-1, 1].
        sample_rate: in Hz.
    """
    if waveform.shape[1] == 0:
        return -math.inf
    powers, rate = _weighted_powers(waveform, sample_rate)
    return gated_loudness(powers.reshape(-1), rate)


def loudness_of_parts(parts: Iterable[Waveform], sample_rate: int) -> float:
    """Integrated loudness of long audio, from that of its parts: within 0.2 LU of the whole's.

    Their powers are averaged, and gated as blocks of the standard are: parts more than 10 LU below
    the others' mean don't count.

    Args:
        parts: (channels, samples) each, two or three seconds long but the last one; or all in one,
            which is measured exactly. In longer parts, loud and quiet sound would be averaged
            before the gate.
        sample_rate: in Hz.
    """
    measured = [(measure_loudness(part, sample_rate), part.shape[1]) for part in parts]
    heard = [(10 ** (lufs / 10), length) for lufs, length in measured if lufs > -math.inf]
    if not heard:
        return -math.inf
    powers, lengths = np.array(heard).T
    is_loud = powers > _RELATIVE_GATE * np.average(powers, weights=lengths)
    return 10 * math.log10(np.average(powers[is_loud], weights=lengths[is_loud]))


def true_peak_db(waveform: Waveform, *, circular: bool = False) -> float:
    """Peak of the continuous signal in dBTP, by 8-fold oversampling; -inf for silence.

    Args:
        waveform: (channels, samples), full scale is [-1, 1].
        circular: whether the waveform is a loop, whose end is followed by its start.
    """
    peak = float(_envelope(waveform, circular).max()) if waveform.size else 0.0
    return 20 * math.log10(peak) if peak > 0 else -math.inf


def normalize_waveform(
    waveform: Waveform,
    sample_rate: int,
    target_lufs: float = TARGET_LUFS,
    true_peak_dbtp: float = TRUE_PEAK_DBTP,
    *,
    circular: bool = False,
) -> Waveform:
    """Bring a clip to a target loudness, its true peak at or under a ceiling.

    Silence stays silent. Where the target would take more than 12 dB of limiting (a lone click),
    the clip stays quieter than the target.

    Args:
        waveform: (channels, samples); values may exceed full scale, [-1, 1].
        sample_rate: in Hz.
        target_lufs: integrated loudness, from -70 to 0.
        true_peak_dbtp: ceiling, from -20 to 0.
        circular: whether the clip is a loop; the limiter then wraps around its ends, which leaves
            no seam.

    Returns:
        (channels, samples), as long as the input.

    Raises:
        InputError: a target out of range, or a value that isn't finite.
    """
    _check_range("target_lufs", target_lufs, -70.0, 0.0)
    _check_range("true_peak_dbtp", true_peak_dbtp, -20.0, 0.0)
    if not np.isfinite(waveform).all():
        raise InputError("waveform holds NaN or infinite values; every sample must be finite")
    if not waveform.size:
        return waveform
    ceiling_db = true_peak_dbtp - _MARGIN_DB
    peaks, (powers, rate) = together(
        lambda: _envelope(waveform, circular), lambda: _weighted_powers(waveform, sample_rate)
    )
    normalized = waveform
    if gated_loudness(powers.reshape(-1), rate) > -math.inf:
        limiter = Limiter(peaks, powers.mean(0), sample_rate, ceiling_db, circular)
        normalized = _limited(waveform, sample_rate, limiter, target_lufs)
    excess_db = true_peak_db(normalized, circular=circular) - ceiling_db
    if excess_db <= 0:
        return normalized
    return np.asarray(normalized * 10 ** (-excess_db / 20), dtype=np.float32)


def _limited(
    waveform: Waveform, sample_rate: int, limiter: Limiter, target_lufs: float
) -> Waveform:
    """The waveform at the target loudness, with its peaks at or under about the ceiling.

    The limiter's prediction is compared with the meter; the nearest of a few attempts is returned.
    """
    aimed_lufs, nearest, least_lu = target_lufs, waveform, math.inf
    for attempt in range(_MAX_ATTEMPTS):
        gains, is_reached = limiter.gains(aimed_lufs)
        result = limiter.applied(gains, waveform)
        missing_lu = target_lufs - measure_loudness(result, sample_rate)
        if attempt == 0 or abs(missing_lu) < least_lu:
            nearest, least_lu = result, abs(missing_lu)
        if not is_reached or least_lu < _TOLERANCE_LU or not math.isfinite(missing_lu):
            break
        aimed_lufs += missing_lu
    return nearest


def _weighted_powers(waveform: Waveform, sample_rate: int) -> tuple[Signal, int]:
    """The meter's weighted powers, and their rate in Hz.

    Returns:
        (repetitions, powers): a clip shorter than a block is repeated until it fills one.
    """
    if waveform.shape[0] > 2:
        waveform = with_channels(waveform, 2)
    if sample_rate < _LOWEST_RATE_HZ:
        waveform, sample_rate = resample(waveform, sample_rate, 48000), 48000
    whole = repeated(waveform.astype(np.float64), sample_rate)
    return weighted_powers(whole, sample_rate).reshape(-1, waveform.shape[1]), sample_rate


def _envelope(waveform: Waveform, circular: bool) -> Envelope:
    """Largest magnitude around each sample, up to its neighbours, over all channels: (samples,).

    The peaks between a sample and both neighbours count, so a smooth gain that bounds this envelope
    also bounds the peaks between two samples.

    `scipy.signal.resample_poly` with the same filter gives the same values up to rounding, but
    takes three times as long: it convolves directly, where `convolutions` uses FFTs.
    """
    early, late = together(
        lambda: _largest_between(waveform, circular, _PHASES[: len(_PHASES) // 2]),
        lambda: _largest_between(waveform, circular, _PHASES[len(_PHASES) // 2 :]),
    )
    between = np.maximum(early, late)
    peaks = np.abs(waveform).max(axis=0)
    np.maximum(peaks, between[:-1], out=peaks)
    np.maximum(peaks, between[1:], out=peaks)
    return np.asarray(peaks, np.float64)


def _largest_between(waveform: Waveform, circular: bool, phases: Sequence[float]) -> Waveform:
    """Largest magnitude between neighbouring samples, at some phases: (T + 1,).

    Value n is of times n - 1 + phase, between samples n - 1 and n, interpolated with a
    Kaiser-windowed sinc over 32 samples on either side. Beyond its ends the signal is silent, or
    repeats if circular. Single precision, in which a peak is right to 0.00001 dB.
    """
    padding = ((0, 0), (_HALF_TAPS, _HALF_TAPS))
    padded = np.pad(waveform, padding, mode="wrap" if circular else "constant")
    largest = np.zeros(waveform.shape[1] + 1, waveform.dtype)
    for samples in convolutions(padded, [_interpolation_kernel(phase) for phase in phases]):
        np.maximum(largest, np.abs(samples).max(axis=0), out=largest)
    return largest


def _interpolation_kernel(phase: float) -> npt.NDArray[np.float64]:
    """The weights of 64 samples, the last one first."""
    offsets = np.arange(_HALF_TAPS - 1, -_HALF_TAPS - 1, -1) + phase
    shape = np.sqrt(np.maximum(0.0, 1 - (offsets / _HALF_TAPS) ** 2))
    kernel = np.sinc(offsets) * np.i0(_KAISER_BETA * shape) / np.i0(_KAISER_BETA)
    return np.asarray(kernel[::-1], np.float64)


def _check_range(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:  # also false for NaN
        raise InputError(f"{name}={value} must be from {low:g} to {high:g} dB")
