"""The best chain of beats through onset strengths, when the period is known.

Beats are times with strong onsets, about one period apart. With onset strength O, period p and
tightness a, the best chain of beats that ends at time t scores

    C(t) = O(t) + max over d of [ C(t - d) - a · log²(d / p) ]

Dynamic programming computes C(t) for all t in one pass; following the links back from the end gives
the beats.
(D. P. W. Ellis, "Beat tracking by dynamic programming", JNMR 36, 2007, equations 2 to 5.)
"""

import functools

import numpy as np
import numpy.typing as npt

from riffusion.loops.oscillators import Signal

_TIGHTNESS = 100.0
"""Ellis's value, for onset strengths of standard deviation 1."""

Frames = npt.NDArray[np.int64]
"""Positions in frames, ascending."""


def best_chain(strength: Signal, periods: Signal) -> Frames:
    """Frames of the beats, in ascending order.

    Args:
        strength: onset strength (frames,).
        periods: the period at each frame, in frames (frames,).
    """
    strength = strength / max(float(strength.std()), 1e-9)
    score = strength.copy()
    links = np.full(strength.size, -1)
    for t in range(strength.size):
        shortest, penalty = _lags(float(periods[t]))
        reach = min(penalty.size, t - shortest + 1)
        if reach < 1:
            continue
        earliest = t - shortest - reach + 1
        chains = score[earliest : t - shortest + 1][::-1] + penalty[:reach]
        best = int(np.argmax(chains))
        if chains[best] > 0:
            score[t] += chains[best]
            links[t] = t - shortest - best
    last_period = max(0, strength.size - round(float(periods[-1])))
    t = last_period + int(np.argmax(score[last_period:]))
    beats = []
    while t >= 0:
        beats.append(t)
        t = int(links[t])
    return np.array(beats[::-1])


@functools.lru_cache(maxsize=512)
def _lags(period: float) -> tuple[int, Signal]:
    """The shortest distance of two beats in frames, and the penalty of it and all longer ones."""
    lags = np.arange(max(1, round(period / 2)), round(2 * period) + 1)
    return int(lags[0]), -_TIGHTNESS * np.log(lags / period) ** 2
