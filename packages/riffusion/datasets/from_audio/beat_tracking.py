"""Beat times of a recording that a data set is cut from: the tempo is taken as constant."""

import numpy as np
import numpy.typing as npt

from riffusion.audio.waveform import Waveform
from riffusion.loops.beat_chain import best_chain
from riffusion.loops.onsets import STEP_S, onset_strength
from riffusion.loops.tempo import estimate_tempo


def track_beats(waveform: Waveform, sample_rate: int) -> npt.NDArray[np.float64]:
    """Beat times in seconds, in ascending order, accurate to about 10 ms.

    Args:
        waveform: (channels, samples) in [-1, 1], with a roughly constant tempo.
        sample_rate: Hz.

    Raises:
        InputError: the waveform is shorter than 1.5 s or has no onsets.
    """
    step_s = round(STEP_S * sample_rate) / sample_rate
    period = 60 / estimate_tempo(waveform, sample_rate) / step_s
    strength = onset_strength(waveform, sample_rate)
    frames = best_chain(strength, np.full(strength.size, period))
    return frames.astype(np.float64) * step_s
