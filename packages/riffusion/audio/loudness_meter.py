"""Integrated loudness of ITU-R BS.1770-4: K-weighting, and the mean power of gated blocks.

The weighting is two filters of second order, a high shelf for the head and a high pass. They are
applied to the spectrum of the whole signal. An FFT repeats its signal, so silence is appended that
is longer than the filters ring: 0.25 s after its input ends, the high pass of 38 Hz has decayed by
more than 400 dB.

The filters are those of pyloudnorm, R. Bristow-Johnson's ("Cookbook formulae for audio equalizer
biquad filter coefficients").
"""

import functools
import math

import numpy as np
import numpy.typing as npt
import scipy  # scipy.fft is imported at its first use

Signal = npt.NDArray[np.float64]

BLOCK_S = 0.4
"""Length of a block; blocks overlap by three quarters."""
_STEP_S = 0.1
_RING_S = 0.25
_SHELF_GAIN_DB = 4.0
_SHELF_HZ, _SHELF_QUALITY = 1500.0, 1 / math.sqrt(2)
_HIGH_PASS_HZ, _HIGH_PASS_QUALITY = 38.0, 0.5
OFFSET_LUFS = -0.691
"""Makes a full-scale sine of 1 kHz on one channel -3.01 LUFS."""
_MAX_KEPT_SIZE = 2**20
"""Longest FFT, about 20 s, whose weights are kept: a clip is measured several times."""
ABSOLUTE_GATE_LUFS = -70.0
_RELATIVE_GATE = 0.1
"""-10 LU."""


def weighted_powers(signal: Signal, sample_rate: int) -> Signal:
    """Squares of the weighted samples, summed over the channels: (samples,).

    Args:
        signal: (1 or 2 channels, samples).
        sample_rate: in Hz, at least 8000.
    """
    return np.asarray(np.square(_k_weighted(signal, sample_rate)).sum(0))


def gated_loudness(
    powers: Signal, rate_hz: float, absolute_gate_lufs: float = ABSOLUTE_GATE_LUFS
) -> float:
    """Integrated loudness in LUFS; -inf if all blocks are below the absolute gate.

    Args:
        powers: weighted powers, (n,). With less than 0.4 s of them, they are repeated.
        rate_hz: powers per second.
        absolute_gate_lufs: the standard's, or another.
    """
    powers = repeated(powers, rate_hz)
    sums = np.concatenate([[0.0], np.cumsum(powers)])
    num_blocks = round((len(powers) / rate_hz - BLOCK_S) / _STEP_S) + 1
    starts = (np.arange(num_blocks) * (_STEP_S * rate_hz)).astype(int)
    ends = (np.arange(num_blocks) * (_STEP_S * rate_hz) + BLOCK_S * rate_hz).astype(int)
    means = (sums[ends.clip(max=len(powers))] - sums[starts]) / (BLOCK_S * rate_hz)
    loud = means[means >= 10 ** ((absolute_gate_lufs - OFFSET_LUFS) / 10)]
    if not loud.size:
        return -math.inf
    loud = loud[loud > _RELATIVE_GATE * loud.mean()]
    return OFFSET_LUFS + 10 * math.log10(loud.mean())


def repeated(signal: Signal, rate_hz: float) -> Signal:
    """(…, n) values as often as fills a block of 0.4 s, at least once; n is positive."""
    num_values = signal.shape[-1]
    repetitions = max(1, math.ceil(BLOCK_S * rate_hz / num_values))
    return np.tile(signal, repetitions)


def _k_weighted(signal: Signal, sample_rate: int) -> Signal:
    num_samples = signal.shape[1]
    size = scipy.fft.next_fast_len(num_samples + round(_RING_S * sample_rate), real=True)
    response = _kept_response if size <= _MAX_KEPT_SIZE else _response
    spectra = scipy.fft.rfft(signal, size)
    spectra *= response(size, sample_rate)
    weighted: Signal = scipy.fft.irfft(spectra, size, overwrite_x=True)[:, :num_samples]
    return weighted


def k_weighting(
    frequencies_hz: npt.NDArray[np.float64], sample_rate: int
) -> npt.NDArray[np.complex128]:
    """The weighting at some frequencies, as complex factors of amplitudes: the same shape.

    Args:
        frequencies_hz: up to half the sample rate.
        sample_rate: in Hz, at least 8000.
    """
    delay = np.exp(-2j * np.pi * frequencies_hz / sample_rate)  # of one sample
    response: npt.NDArray[np.complex128] = np.ones_like(delay)
    for coefficients in (_high_shelf(sample_rate), _high_pass(sample_rate)):
        (b0, b1, b2), (a0, a1, a2) = coefficients
        response *= (b0 + delay * (b1 + delay * b2)) / (a0 + delay * (a1 + delay * a2))
    return response


def _response(size: int, sample_rate: int) -> npt.NDArray[np.complex128]:
    """The weighting of each bin, (size // 2 + 1,)."""
    return k_weighting(sample_rate * (np.arange(size // 2 + 1) / size), sample_rate)


_kept_response = functools.lru_cache(maxsize=4)(_response)


_Coefficients = tuple[tuple[float, float, float], tuple[float, float, float]]
"""Coefficients of the numerator and of the denominator, by powers of the delay."""


def _high_shelf(sample_rate: int) -> _Coefficients:
    gain = 10 ** (_SHELF_GAIN_DB / 40)
    turn = 2 * math.pi * _SHELF_HZ / sample_rate
    cos, width = math.cos(turn), math.sin(turn) / _SHELF_QUALITY * math.sqrt(gain)
    above, below = gain + 1, gain - 1
    return (
        (
            gain * (above + below * cos + width),
            -2 * gain * (below + above * cos),
            gain * (above + below * cos - width),
        ),
        (above - below * cos + width, 2 * (below - above * cos), above - below * cos - width),
    )


def _high_pass(sample_rate: int) -> _Coefficients:
    turn = 2 * math.pi * _HIGH_PASS_HZ / sample_rate
    cos, width = math.cos(turn), math.sin(turn) / (2 * _HIGH_PASS_QUALITY)
    return ((1 + cos) / 2, -(1 + cos), (1 + cos) / 2), (1 + width, -2 * cos, 1 - width)
