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
from riffusion.spectrogram.mel_scale import mel_row_frequencies_hz
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


def chroma_from_plane(plane: Plane, params: SpectrogramParams) -> Chroma:
    """Chroma of a plane (frequency, time); each frame has mean 0."""
    amplitudes = compressed_amplitudes(plane, params)[::-1]  # low frequencies first
    chroma = _weights(params) @ amplitudes
    chroma -= chroma.mean(0)
    return _smooth(chroma, max(1, round(_SMOOTHING_MS / params.step_size_ms)))


def pitch_agreement(first: Plane, second: Plane, params: SpectrogramParams) -> float:
    """Correlation of the chroma of two clips of one size, in [-1, 1]; 1 for the same clip."""
    return correlation(chroma_from_plane(first, params), chroma_from_plane(second, params))


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
