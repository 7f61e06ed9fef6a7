"""Onsets of an image: the spectral flux, and its correlation between two images.

The flux of a frame is the sum over all frequencies of the increases in amplitude since an earlier
frame (S. Dixon, "Onset detection revisited", DAFx 2006). It is computed from amplitude^½, which
gives soft notes weight without raising noise near silence. Frames wrap around, as the clips are
loops.
"""

import numpy as np
import numpy.typing as npt

from riffusion.evaluation.images import Plane, loudness
from riffusion.spectrogram.params import SpectrogramParams

Envelope = npt.NDArray[np.float64]
"""(time,)."""

LAG_MS = 30
"""Distance to the earlier frame. An attack rises over one window, 100 ms."""
_COMPRESSION = 0.5


def compressed_amplitudes(plane: Plane, params: SpectrogramParams) -> npt.NDArray[np.float64]:
    """Amplitude^½ relative to the largest, (frequency, time) in [0, 1]."""
    amplitudes: npt.NDArray[np.float64] = loudness(plane).astype(np.float64) ** (
        _COMPRESSION / params.power_for_image
    )
    return amplitudes


def onset_envelope(plane: Plane, params: SpectrogramParams) -> Envelope:
    """Spectral flux (time,) of a plane (frequency, time), at least 0."""
    amplitudes = compressed_amplitudes(plane, params)
    lag = max(1, round(LAG_MS / params.step_size_ms))
    rise = amplitudes - np.roll(amplitudes, lag, axis=1)
    envelope: Envelope = np.clip(rise, 0, None).sum(0)
    return envelope


def correlation(first: npt.NDArray[np.float64], second: npt.NDArray[np.float64]) -> float:
    """Pearson's r over all values of two arrays of one shape; 0 if one of them is constant."""
    a, b = first.ravel() - first.mean(), second.ravel() - second.mean()
    norm = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / norm if norm > 1e-9 else 0.0


def beat_agreement(first: Plane, second: Plane, params: SpectrogramParams) -> float:
    """Correlation of the onsets of two clips of one size, in [-1, 1]; 1 for the same clip."""
    return correlation(onset_envelope(first, params), onset_envelope(second, params))
