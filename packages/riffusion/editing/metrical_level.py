"""Whether the beat is the pulse that was found, or one of half or twice its tempo.

Onsets repeat at several tempi at once. Of the beat, five things are true more than of the others:
its period shows clearly in the onset strength; its tempo is moderate; odd and even beats are about
equally strong; what is halfway between two beats is weaker; and the snare drum plays on every
other beat. Each is a term of the logarithm of the odds. Cymbals don't count, since they often play
twice or four times per beat. The weights were fitted to drum patterns of `tests/editing` and to the
loops of `riffusion.loops` at 60 to 180 beats per minute, of which about 85 % come out right. (The
idea after A. P. Klapuri, A. J. Eronen and J. T. Astola, "Analysis of the meter of acoustic musical
signals", IEEE TASLP 14, 2006.)
"""

import numpy as np
import numpy.typing as npt

from riffusion.loops.beat_chain import Frames
from riffusion.loops.onsets import Bands, strength_from_bands
from riffusion.loops.oscillators import Signal
from riffusion.music_limits import TEMPO_RANGE_BPM

_LEVELS = (0.5, 1.0, 2.0)
"""Tempi to compare, relative to the pulse that was found."""
_MODERATE_BPM, _MODERATE_OCTAVES = 120.0, 0.6
_LIKELY_BPM = 100.0
"""Middle of the tempi that beats have."""
_SALIENCE, _EVENNESS, _WEAKER, _ALTERNATION, _FOUND = 2.0, 0.5, 1.0, 2.0, 1.7
"""Weights of the terms; `_FOUND` is added for the pulse that was found."""
_LEAST_EVEN, _WEAKEST = 0.03, 0.1
"""Ratios below which a term tells nothing more."""
_BELOW_CYMBALS_HZ = 4500.0
_SNARE_HZ = 700.0
_REACH_S = 0.02


def choose_level(
    bands: Bands,
    band_edges_hz: npt.NDArray[np.float64],
    beats: Frames,
    step_s: float,
    saliences: Signal,
) -> tuple[float, float]:
    """The tempo of the beat relative to the pulse, and the certainty of the choice.

    Args:
        bands: magnitudes (bands, frames), see `riffusion.loops.onsets`.
        band_edges_hz: edges of the bands, one more than there are bands.
        beats: the pulse, in frames, at least four of them.
        step_s: time from frame to frame.
        saliences: salience of the periods at half, once and twice the pulse's tempo (3,).

    Returns:
        0.5, 1 or 2; and its share of the odds of all three, from 1/3 to 1.
    """
    reach = max(1, round(_REACH_S / step_s))
    low, high = band_edges_hz[:-1], band_edges_hz[1:]
    drums = bands[: np.searchsorted(high, _BELOW_CYMBALS_HZ)]  # a view, not a copy
    snare = drums[np.searchsorted(low, _SNARE_HZ, side="right") :]
    strengths = _at_quarters(strength_from_bands(drums), beats, reach)
    snares = _at_quarters(strength_from_bands(snare), beats, reach)
    tempi = 60 / (np.median(np.diff(beats)) * step_s) * np.array(_LEVELS)
    odds = np.array([_log_odds(strengths, snares, level) for level in _LEVELS])
    odds += _SALIENCE * np.log(np.maximum(saliences, 0.02))
    odds -= 0.5 * (np.log2(tempi / _MODERATE_BPM) / _MODERATE_OCTAVES) ** 2
    odds[1] += _FOUND
    odds[(tempi < TEMPO_RANGE_BPM[0]) | (tempi > TEMPO_RANGE_BPM[1])] = -np.inf
    shares = np.exp(odds - odds.max())
    best = int(np.argmax(shares))
    return _LEVELS[best], float(shares[best] / shares.sum())


def other_tempo(tempo_bpm: float) -> float:
    """Half or twice a tempo, whichever is more moderate.

    Of 90 recordings (15 patterns and loops at 60, 75, 93, 120, 150 and 180 beats per minute) 60 get
    their own tempo, and 29 of the other 30 get this one. No weights of the terms above do better at
    usual tempi, as far as leaving a pattern out tells, and librosa is wrong for 28 of the 30, too.
    """
    one, other = tempo_bpm / 2, tempo_bpm * 2
    return one if one * other > _LIKELY_BPM**2 else other


def _at_quarters(strength: Signal, beats: Frames, reach: int) -> npt.NDArray[np.float64]:
    """Strongest onset near each quarter of each beat: (beats - 1, 4)."""
    padded = np.pad(strength, reach)
    local = np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1).max(axis=1)
    at = beats[:-1, None] + np.diff(beats)[:, None] * np.arange(4) / 4
    quarters: npt.NDArray[np.float64] = local[np.clip(np.rint(at).astype(int), 0, local.size - 1)]
    return quarters


def _log_odds(
    strengths: npt.NDArray[np.float64], snares: npt.NDArray[np.float64], level: float
) -> float:
    """The terms that depend on what is on the beats of a level, and what is between them."""
    if level == 1:
        on, between, snare_on = strengths[:, 0], strengths[:, 2], snares[:, 0]
    elif level == 2:
        on, between = strengths[:, 0::2].ravel(), strengths[:, 1::2].ravel()
        snare_on = snares[:, 0::2].ravel()
    else:
        first, second = strengths[0::2, 0], strengths[1::2, 0]
        is_first = first.mean() >= second.mean()
        on, between = (first, second) if is_first else (second, first)
        snare_on = snares[0 if is_first else 1 :: 2, 0]
    odd, even = on[0::2].mean(), on[1::2].mean() if on.size > 1 else on.mean()
    evenness = min(odd, even) / max(odd, even, 1e-12)
    weaker = between.mean() / max(float(on.mean()), 1e-12)
    return float(
        _EVENNESS * np.log(max(evenness, _LEAST_EVEN))
        - _WEAKER * np.log(max(weaker, _WEAKEST))
        + _ALTERNATION * evenness * _alternation(snare_on)
    )


def _alternation(strengths: Signal) -> float:
    """1 if every other value is high and the ones between are low, 0 if nothing alternates."""
    limited = np.minimum(strengths, np.percentile(strengths, 95))
    values = limited - limited.mean()
    spread = float(values.std())
    if values.size < 5 or spread < 0.1 * float(limited.max()) or spread == 0:
        return 0.0
    one, two = ((values[lag:] * values[:-lag]).mean() / spread**2 for lag in (1, 2))
    return float(np.clip((two - one) / 2, 0, 1))
