"""Which beats are the first of a bar, and how many a bar has: four, or three if that is clearer.

Bars begin where bass drum and bass play, where the chord changes, and where the music is accented;
the snare drum plays on other beats. (Cues after M. E. P. Davies and M. D. Plumbley, "A spectral
difference approach to downbeat extraction in musical audio", EUSIPCO 2006, and G. Peeters and
H. Papadopoulos, "Simultaneous beat and downbeat-tracking using a probabilistic framework", IEEE
TASLP 19, 2011.)
"""

import itertools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from riffusion.editing.listening import Heard
from riffusion.loops.onsets import Bands, loudness_from_bands, strength_from_bands
from riffusion.loops.oscillators import Signal

_BASS_HZ, _SNARE_LOW_HZ, _SNARE_HIGH_HZ = 160.0, 1000.0, 6000.0
_REACH_S = 0.03
_WEIGHTS = {"bass": 1.0, "chord": 1.0, "bass_note": 0.7, "accent": 0.4, "snare": -0.5}
_EVIDENCE = 0.5
"""How much a cue that stands out by its standard error counts, as the logarithm of odds."""
_MAX_CUE = 6.0
_LIMIT = 2.5
"""Largest deviation of one beat, in standard deviations."""
_LEAST_CHANGE = 0.2
"""Standard deviation that changes of pitch classes have where chords change; drums have less."""
_FIRST_BEAT = 1.5
"""Logarithm of the odds that recordings begin with a bar."""
_CLEARER = 0.1
"""Share of the variance that bars of three must explain beyond that of bars of four, and chance."""

Times = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Bars:
    """Bars of a recording.

    Args:
        metre: beats per bar, 3 or 4.
        first_downbeat: index of the first beat that begins a bar.
        certainty: of both, from 0 to 1.
    """

    metre: int
    first_downbeat: int
    certainty: float


def find_bars(heard: Heard, beats_s: Times) -> Bars:
    """Find the bars of a recording.

    Args:
        heard: what was heard in it.
        beats_s: its beats.
    """
    cues = _cues(heard, beats_s)
    three, four = _explained(cues, 3), _explained(cues, 4)
    chance = 1 / np.sqrt(beats_s.size)
    metre = 3 if three > max(four, 0) + _CLEARER + chance else 4
    metre_odds = 1 / (1 + np.exp(-10 * abs(three - four)))
    logits = np.array([_evidence(cues, metre, first) for first in range(min(metre, beats_s.size))])
    logits[0] += _FIRST_BEAT
    shares = np.exp(logits - logits.max())
    shares /= shares.sum()
    first = int(np.argmax(shares))
    return Bars(metre, first, float(shares[first] * metre_odds))


def _cues(heard: Heard, beats_s: Times) -> dict[str, Signal]:
    """Cues per beat (beats,), each with mean 0 and a standard deviation of at most 1."""
    loudest = float(heard.bands.max())
    centres = np.sqrt(heard.band_edges_hz[:-1] * heard.band_edges_hz[1:])
    bass, snare, snare_end = np.searchsorted(centres, [_BASS_HZ, _SNARE_LOW_HZ, _SNARE_HIGH_HZ])
    chroma_s = heard.chroma.step_s
    cues = {
        "bass": (_onsets(heard.bands[:bass], loudest, beats_s, heard.step_s), 1e-6),
        "snare": (_onsets(heard.bands[snare:snare_end], loudest, beats_s, heard.step_s), 1e-6),
        "accent": (_onsets(heard.bands, loudest, beats_s, heard.step_s), 1e-6),
        "chord": (_changes(heard.chroma.classes, beats_s, chroma_s), _LEAST_CHANGE),
        "bass_note": (_changes(heard.chroma.bass, beats_s, chroma_s), _LEAST_CHANGE),
    }
    return {
        name: np.clip((cue - cue.mean()) / max(float(cue.std()), floor), -_LIMIT, _LIMIT)
        for name, (cue, floor) in cues.items()
    }


def _onsets(bands: Bands, loudest: float, beats_s: Times, step_s: float) -> Signal:
    """Increase of loudness near each beat (beats,); the recording begins from silence."""
    flux = strength_from_bands(bands, loudest)
    flux[:1] = loudness_from_bands(bands[:, :1], loudest).sum(axis=0)
    reach = round(_REACH_S / step_s)
    at = np.rint(beats_s / step_s).astype(int)[:, None] + np.arange(-reach, reach + 1)
    cue: Signal = flux[np.clip(at, 0, flux.size - 1)].sum(axis=1)
    return cue


def _changes(classes: npt.NDArray[np.float32], beats_s: Times, step_s: float) -> Signal:
    """Difference of the pitch classes after each beat and before it (beats,), from 0 to 1."""
    if classes.shape[1] == 0:
        return np.zeros(beats_s.size)
    edges = np.append(beats_s, 2 * beats_s[-1] - beats_s[-2])
    frames = np.clip(np.rint(edges / step_s).astype(int), 0, classes.shape[1] - 1)
    # Windows are longer than a beat: the middle of each beat has the least of its neighbours.
    means = np.stack(
        [
            classes[:, first : max(first + 1, last)].mean(axis=1)
            for first, last in itertools.pairwise(frames)
        ]
    )
    norms = np.linalg.norm(means, axis=1)
    similarity = (means[1:] * means[:-1]).sum(axis=1) / np.maximum(norms[1:] * norms[:-1], 1e-9)
    changed = np.where((norms[1:] > 0) & (norms[:-1] > 0), 1 - similarity, 0.0)
    return np.concatenate([[float(changed.mean()) if changed.size else 0.0], changed])


def _explained(cues: dict[str, Signal], metre: int) -> float:
    """Share of the cues' variance that is the same in every bar, less what chance would explain."""
    table = np.stack(list(cues.values()))
    count = table.shape[1]
    if count < 2 * metre + 1:
        return 0.0
    rest = 0.0
    for phase in range(metre):
        part = table[:, phase::metre]
        rest += float(((part - part.mean(axis=1, keepdims=True)) ** 2).sum())
    total = float((table**2).sum())
    return float(1 - (rest / (count - metre)) / max(total / (count - 1), 1e-9))


def _evidence(cues: dict[str, Signal], metre: int, first: int) -> float:
    """Logarithm of the odds that every `metre`-th beat from `first` on begins a bar."""
    total = 0.0
    for name, weight in _WEIGHTS.items():
        on = cues[name][first::metre]
        total += weight * float(np.clip(on.mean() * np.sqrt(on.size), -_MAX_CUE, _MAX_CUE))
    return float(_EVIDENCE * total)
