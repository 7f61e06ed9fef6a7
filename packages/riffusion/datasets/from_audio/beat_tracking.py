"""Beat times of a recording.

Beats are times with strong onsets, about one period apart. With onset strength O, period p and
tightness a, the best chain of beats that ends at time t scores

    C(t) = O(t) + max over d of [ C(t - d) - a · log²(d / p) ]

Dynamic programming computes C(t) for all t in one pass; following the links back from the end gives
the beats.
(D. P. W. Ellis, "Beat tracking by dynamic programming", JNMR 36, 2007, equations 2 to 5.)
"""

import numpy as np
import numpy.typing as npt

from riffusion.audio.waveform import Waveform
from riffusion.loops.tempo import estimate_tempo, onset_strength

_STEP_S = 0.01
"""Time step of `onset_strength`."""
_TIGHTNESS = 100.0
"""Ellis's value, for onset strengths of standard deviation 1."""


def track_beats(waveform: Waveform, sample_rate: int) -> npt.NDArray[np.float64]:
    """Beat times in seconds, in ascending order, accurate to about 10 ms.

    Args:
        waveform: (channels, samples) in [-1, 1], with a roughly constant tempo.
        sample_rate: Hz.

    Raises:
        InputError: the waveform is shorter than 1.5 s or has no onsets.
    """
    step_s = round(_STEP_S * sample_rate) / sample_rate
    period = 60 / estimate_tempo(waveform, sample_rate) / step_s
    strength = onset_strength(waveform, sample_rate)
    strength = strength / max(float(strength.std()), 1e-9)
    lags = np.arange(max(1, round(period / 2)), round(2 * period) + 1)
    penalty = -_TIGHTNESS * np.log(lags / period) ** 2
    score = strength.copy()
    links = np.full(strength.size, -1)
    for t in range(int(lags[0]), strength.size):
        reach = min(lags.size, t - int(lags[0]) + 1)
        chains = score[t - lags[:reach]] + penalty[:reach]
        best = int(np.argmax(chains))
        if chains[best] > 0:
            score[t] += chains[best]
            links[t] = t - lags[best]
    last_period = max(0, strength.size - round(period))
    t = last_period + int(np.argmax(score[last_period:]))
    beats = []
    while t >= 0:
        beats.append(t * step_s)
        t = int(links[t])
    return np.array(beats[::-1])
