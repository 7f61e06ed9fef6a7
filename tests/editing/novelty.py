"""How novel a moment of a sound is: its spectral flux."""

import numpy as np
import numpy.typing as npt

from riffusion.audio.waveform import Waveform

_HOP = 220
"""5 ms at 44.1 kHz."""


def flux(waveform: Waveform) -> npt.NDArray[np.float64]:
    """Spectral flux of frames that are 5 ms apart, of the mean of the channels."""
    frames = np.lib.stride_tricks.sliding_window_view(waveform.mean(0), 1024)[::_HOP]
    loudness = np.log1p(100 * np.abs(np.fft.rfft(frames * np.hanning(1024))))
    total: npt.NDArray[np.float64] = np.maximum(np.diff(loudness, axis=0), 0).sum(1)
    return total


def near(strength: npt.NDArray[np.float64], sample: int) -> float:
    """Largest flux within 50 ms of a sample."""
    return float(strength[max(0, sample // _HOP - 12) : sample // _HOP + 10].max())
