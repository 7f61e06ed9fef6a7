"""The balance of a recording's channels, for new sound that is made in mono."""

import numpy as np
import numpy.typing as npt

from riffusion.audio.waveform import Waveform

Levels = npt.NDArray[np.float32]

_HIGHEST = 4.0
"""Highest level of a channel; with opposite channels, their mean is nearly silent."""
_SILENT = 1e-6
"""Level of the mean below which there is nothing to compare with: -120 dB."""


def balance(heard: Waveform) -> Levels:
    """Level of each channel relative to that of their mean, (channels,); 1 for silence.

    Args:
        heard: (channels, samples).
    """
    mono = float(np.sqrt(np.mean(heard.mean(0) ** 2))) if heard.shape[1] else 0.0
    if mono < _SILENT:
        return np.ones(len(heard), np.float32)
    channels = np.sqrt(np.mean(heard**2, axis=1))
    return np.asarray(np.minimum(channels / mono, _HIGHEST), np.float32)
