"""The tempo over time: steady, or slowly changing.

Windows of twelve seconds are judged for every tempo, as `riffusion.loops.tempo` judges a whole
recording. The path through them that is the clearest altogether and changes little from window to
window is the tempo. (After the tempo path of G. Peeters, "Template-based estimation of time-varying
tempo", EURASIP JASP 2007, section 4.)
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from riffusion.loops.oscillators import Signal
from riffusion.loops.tempo import beat_salience, tempo_preference
from riffusion.music_limits import TEMPO_RANGE_BPM

_WINDOW_S = 12.0
_WINDOW_STEP_S = 6.0
_CANDIDATES = 1200
"""Number of tempi that are compared, 0.2 % apart, from 30 to 300 beats per minute."""
_REACH = 12
"""Largest change from window to window, in candidates: 2.3 %."""
_CHANGE_COST = 0.005
"""Cost of a change by one candidate; two cost four times as much."""
_HINT_REACH = 1.06
"""How far the tempo may be from the one that the caller knows: 6 %."""
_MIN_SALIENCE = 1e-3


@dataclass(frozen=True, eq=False)
class TempoPath:
    """The tempo over time.

    Args:
        periods: the period at each frame, in frames (frames,).
        regularity: mean correlation of onset strengths that are one to four beats apart: about 1
            for a metronome, 0 for noise.
        saliences: how clearly half, once and twice the tempo show (3,).
    """

    periods: Signal
    regularity: float
    saliences: Signal


def tempo_path(strength: Signal, step_s: float, hint_bpm: float | None = None) -> TempoPath:
    """Find the tempo over time.

    Args:
        strength: onset strength (frames,), at least 1.5 s of it.
        step_s: time from frame to frame.
        hint_bpm: the tempo, if it is known to a few percent.
    """
    periods = _candidate_periods(strength.size, step_s, hint_bpm)
    tempi = 60 / (periods * step_s)
    preference = tempo_preference(tempi) if hint_bpm is None else np.ones(tempi.size)
    centres, windows = _windows(strength, step_s)
    judged = [beat_salience(window, periods) for window in windows]
    clarity = [np.log(np.maximum(s * preference, _MIN_SALIENCE)) for s, _ in judged]
    path = _best_path(np.array(clarity))
    regularity = [repetition[at] for (_, repetition), at in zip(judged, path, strict=True)]
    at_frames = np.interp(np.arange(strength.size), centres, periods[path])
    saliences = [
        beat_salience(window, period * np.array([2.0, 1.0, 0.5]))[0]
        for window, period in zip(windows, periods[path], strict=True)
    ]
    return TempoPath(at_frames, float(np.mean(regularity)), np.mean(saliences, axis=0))


def _candidate_periods(num_frames: int, step_s: float, hint_bpm: float | None) -> Signal:
    low_bpm, high_bpm = TEMPO_RANGE_BPM
    if hint_bpm is not None:
        low_bpm, high_bpm = hint_bpm / _HINT_REACH, hint_bpm * _HINT_REACH
    count = round(_CANDIDATES * np.log(high_bpm / low_bpm) / np.log(10))
    shortest_s = 60 / high_bpm
    longest_s = max(shortest_s * 1.01, min(60 / low_bpm, 0.6 * num_frames * step_s))
    periods: Signal = np.geomspace(shortest_s, longest_s, count) / step_s
    return periods


def _windows(strength: Signal, step_s: float) -> tuple[Signal, list[Signal]]:
    """Windows with mean 0, whose loudest onsets are limited, and their centres in frames."""
    length, step = round(_WINDOW_S / step_s), round(_WINDOW_STEP_S / step_s)
    if strength.size < length + step:
        length = strength.size
    starts = np.unique([*range(0, strength.size - length, step), strength.size - length])
    windows = []
    for start in starts:
        window = strength[start : start + length]
        window = np.minimum(window, np.percentile(window, 99))  # a single crash
        windows.append(window - window.mean())
    return starts + length / 2, windows


def _best_path(clarity: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """The best candidate per window, with small changes only: (windows, candidates) → (windows,).

    The Viterbi algorithm.
    """
    changes = np.arange(-_REACH, _REACH + 1)
    costs = _CHANGE_COST * changes**2
    score = clarity[0]
    came_from = []
    for row in clarity[1:]:
        padded = np.pad(score, _REACH, constant_values=-np.inf)
        arrivals = np.lib.stride_tricks.sliding_window_view(padded, changes.size) - costs
        best = arrivals.argmax(axis=1)
        came_from.append(np.arange(row.size) + changes[best])
        score = arrivals[np.arange(row.size), best] + row
    path = [int(np.argmax(score))]
    for links in reversed(came_from):
        path.append(int(links[path[-1]]))
    return np.array(path[::-1])
