"""Frequencies of an image's rows, by HTK's or Slaney's mel scale."""

import numpy as np
import numpy.typing as npt

from riffusion.spectrogram.params import SpectrogramParams

_SLANEY_HZ = 200 / 3
_SLANEY_LOG = np.log(6.4) / 27
"""Slaney's scale: Hz per mel below 1 kHz, logarithm per mel above."""


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
