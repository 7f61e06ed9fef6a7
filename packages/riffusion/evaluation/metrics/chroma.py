"""Chroma of an image: the loudness of each of the twelve pitch classes over time.

Every mel row between C2 and C7 adds its loudness to the pitch classes near its frequency. The mean
over the classes of a frame, which drums and noise raise, is subtracted. After M. Müller,
"Fundamentals of Music Processing", 2015, section 3.1.2.
"""

import functools

import numpy as np
import numpy.typing as npt

from riffusion.evaluation.images import Plane
from riffusion.evaluation.metrics.onsets import compressed_amplitudes, correlation
from riffusion.spectrogram.params import SpectrogramParams

Chroma = npt.NDArray[np.float64]
"""(12, time); row 0 is C, row 9 is A."""

_LOW_HZ, _HIGH_HZ = 65.4, 2093.0
"""C2 to C7."""
_A4_HZ = 440.0
_A_CLASS = 9
_SPREAD_SEMITONES = 0.5
"""Standard deviation of a row's weights over pitch classes; mel rows are not at semitones."""
_SMOOTHING_MS = 200
"""Width of the moving average, so that small shifts of onsets don't matter."""
_SLANEY_HZ = 200 / 3
_SLANEY_LOG = np.log(6.4) / 27
"""Slaney's scale: Hz per mel below 1 kHz, logarithm per mel above."""


def chroma_from_plane(plane: Plane, params: SpectrogramParams) -> Chroma:
    """Chroma of a plane (frequency, time); each frame has mean 0."""
    amplitudes = compressed_amplitudes(plane, params)[::-1]  # low frequencies first
    chroma = _weights(params) @ amplitudes
    chroma -= chroma.mean(0)
    return _smooth(chroma, max(1, round(_SMOOTHING_MS / params.step_size_ms)))


def pitch_agreement(first: Plane, second: Plane, params: SpectrogramParams) -> float:
    """Correlation of the chroma of two clips of one size, in [-1, 1]; 1 for the same clip."""
    return correlation(chroma_from_plane(first, params), chroma_from_plane(second, params))


def mel_row_frequencies_hz(params: SpectrogramParams) -> npt.NDArray[np.float64]:
    """Centre frequency of each mel row, (num_frequencies,), lowest first."""
    low, high = (
        _mel_from_hz(hz, params.mel_scale_type)
        for hz in (params.min_frequency, params.max_frequency)
    )
    # Centres are evenly spaced on the mel scale, between the two ends of the range.
    mels = np.linspace(low, high, params.num_frequencies + 2)[1:-1]
    return _hz_from_mel(mels, params.mel_scale_type)


def _mel_from_hz(hz: float, scale: str) -> float:
    """HTK's or Slaney's mel scale; Slaney's is linear below 1 kHz, logarithmic above."""
    if scale == "htk":
        return float(2595 * np.log10(1 + hz / 700))
    return hz / _SLANEY_HZ if hz < 1000 else float(15 + np.log(hz / 1000) / _SLANEY_LOG)


def _hz_from_mel(mels: npt.NDArray[np.float64], scale: str) -> npt.NDArray[np.float64]:
    """The inverse of `_mel_from_hz`."""
    hz: npt.NDArray[np.float64]
    if scale == "htk":
        hz = 700 * (10 ** (mels / 2595) - 1)
    else:
        hz = np.where(mels < 15, mels * _SLANEY_HZ, 1000 * np.exp((mels - 15) * _SLANEY_LOG))
    return hz


@functools.lru_cache(maxsize=4)
def _weights(params: SpectrogramParams) -> npt.NDArray[np.float64]:
    """Weights (12, num_frequencies) of mel rows per pitch class; the sum of each class is 1."""
    hz = mel_row_frequencies_hz(params)
    semitones = 12 * np.log2(np.maximum(hz, 1e-3) / _A4_HZ) + _A_CLASS
    apart = (semitones - np.arange(12)[:, None] + 6) % 12 - 6
    weights = np.exp(-0.5 * (apart / _SPREAD_SEMITONES) ** 2)
    weights *= (hz >= _LOW_HZ) & (hz <= _HIGH_HZ)
    normalised: npt.NDArray[np.float64] = weights / np.maximum(
        weights.sum(1, keepdims=True), 1e-9
    )  # so noise is equal in all classes
    return normalised


def _smooth(chroma: Chroma, width: int) -> Chroma:
    """Circular moving average over `width` frames."""
    kernel = np.zeros(chroma.shape[1])
    kernel[np.arange(-(width // 2), width - width // 2)] = 1 / width
    spectrum = np.fft.rfft(chroma) * np.fft.rfft(kernel)
    smoothed: Chroma = np.fft.irfft(spectrum, chroma.shape[1])
    return smoothed
