"""HTK's and Slaney's mel scale, and the frequencies of an image's rows.

HTK's scale is logarithmic throughout, 2595 · log10(1 + f / 700); Slaney's is linear up to 1 kHz and
logarithmic above it.
"""

import math
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from riffusion.spectrogram.params import SpectrogramParams

_HZ_PER_MEL = 200 / 3
_BREAK_HZ = 1000.0
_BREAK_MEL = _BREAK_HZ / _HZ_PER_MEL
_LOG_STEP = math.log(6.4) / 27
"""Slaney's scale: 200/3 Hz per mel up to the break, and 27 mels per factor of 6.4 above it."""

Number = TypeVar("Number", np.float32, np.float64)


def mel_row_frequencies_hz(params: SpectrogramParams) -> npt.NDArray[np.float64]:
    """Centre frequency of each mel row, (num_frequencies,), lowest first."""
    low, high = (
        mel_from_hz(hz, params.mel_scale_type)
        for hz in (params.min_frequency, params.max_frequency)
    )
    # Centres are evenly spaced on the mel scale, between the two ends of the range.
    mels = np.linspace(low, high, params.num_frequencies + 2)[1:-1]
    return hz_from_mel(mels, params.mel_scale_type)


def mel_from_hz(hz: float, scale: str) -> float:
    """Mel of a frequency; `scale` is "htk" or "slaney"."""
    if scale == "htk":
        return 2595 * math.log10(1 + hz / 700)
    if hz < _BREAK_HZ:
        return hz / _HZ_PER_MEL
    return _BREAK_MEL + math.log(hz / _BREAK_HZ) / _LOG_STEP


def hz_from_mel(mel: npt.NDArray[Number], scale: str) -> npt.NDArray[Number]:
    """The inverse of `mel_from_hz`, in the precision of `mel`.

    Powers are computed in float64 and then rounded.
    """
    number = mel.dtype.type
    if scale == "htk":
        power = (10 ** (mel / number(2595)).astype(np.float64)).astype(number)
        return np.asarray(number(700) * (power - number(1)))
    exponent = number(_LOG_STEP) * (mel - number(_BREAK_MEL))
    power = np.exp(exponent.astype(np.float64)).astype(number)
    return np.where(mel < _BREAK_MEL, number(_HZ_PER_MEL) * mel, number(_BREAK_HZ) * power)
