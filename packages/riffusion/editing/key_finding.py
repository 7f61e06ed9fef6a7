"""The key of a recording, from how much its pitch classes sound, and from how it begins.

The pitch classes are correlated with the profile of each of the 24 keys: how well listeners say
that each note fits the key. Partials sound too, so the profile is that of notes with partials.
Relative keys share their notes; music mostly begins with the tonic, in the bass too, so the notes
of the tonic's chord in the first two seconds count in addition. (Profiles: C. L. Krumhansl and
E. J. Kessler, "Tracing the dynamic changes in perceived tonal organization in a spatial
representation of musical keys", Psychological Review 89, 1982. Correlation: C. L. Krumhansl,
"Cognitive foundations of musical pitch", 1990, chapter 4. Partials: E. Gómez, "Tonal description of
polyphonic audio for music content processing", INFORMS Journal on Computing 18, 2006. Criticism,
and why the beginning helps: D. Temperley, "What's key for key?", Music Perception 17, 1999.)
"""

import dataclasses

import numpy as np
import numpy.typing as npt

from riffusion.editing.chroma import Chromagram, Classes
from riffusion.editing.listening import Heard
from riffusion.errors import InputError
from riffusion.loops.harmony import SCALES, Key

_PROFILES = {
    "major": (6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88),
    "minor": (6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17),
}
_NUM_PARTIALS, _PARTIAL_DECAY = 8, 0.6
"""Each partial counts 0.6 times as much as the one below it."""
_OPENING_S, _OPENING_WEIGHT = 2.0, 0.15
_SHARPNESS = 20.0
"""Logarithm of the odds of two keys, per difference of how well they fit."""
_LEAST_TONAL = 0.12
"""Share of steady tones below which there is no key: drums have 0.05, music has 0.4 and more."""
_LEAST_FIT = 0.3
_AUDIBLE = 0.1
"""Share of the loudest frame's tones at which the music has begun."""

Shares = npt.NDArray[np.float64]
"""(12,), with sum 1, or all 0."""


@dataclasses.dataclass(frozen=True)
class FoundKey:
    """The key of a recording.

    Args:
        key: the most likely one.
        certainty: from 0 to 1; low where another key, often the relative one, fits as well.
        second: the next most likely one.
        tuning_cents: how much higher than 440 Hz its A is.
    """

    key: Key
    certainty: float
    second: Key
    tuning_cents: float


def find_key(heard: Heard) -> FoundKey:
    """Find the key of a recording.

    Raises:
        InputError: it is silent, has few steady tones, or they belong to no key.
    """
    if heard.peak == 0:
        raise _no_key("the recording is silent, so it has no key")
    if heard.chroma.tonal_share < _LEAST_TONAL:
        raise _no_key("the recording has no steady tones, so it has no key")
    fits = _fits(heard.chroma)
    order = sorted(fits, key=lambda key: fits[key], reverse=True)
    best, second = order[0], order[1]
    if fits[best] < _LEAST_FIT:
        raise _no_key("no key was found in the recording: its tones belong to no scale")
    odds = np.exp(_SHARPNESS * (np.array([fits[key] for key in order]) - fits[best]))
    certainty = float(odds[0] / odds.sum())
    return FoundKey(best, certainty, second, 100 * heard.chroma.tuning_semitones)


def _no_key(why: str) -> InputError:
    return InputError(f"{why}; say by how many semitones to move it instead, or use another one")


def _fits(chroma: Chromagram) -> dict[Key, float]:
    """How well each key fits the recording: a correlation, and up to 0.15 for its beginning."""
    loudness = chroma.classes.sum(axis=0)
    first = int(np.argmax(loudness > _AUDIBLE * loudness.max()))
    opening = slice(first, first + max(1, round(_OPENING_S / chroma.step_s)))
    all_notes = _shares(chroma.classes)
    notes, bass = _shares(chroma.classes[:, opening]), _shares(chroma.bass[:, opening])
    fits = {}
    for mode, profile in _PROFILES.items():
        sounding = _with_partials(np.array(profile))
        for tonic in range(12):
            chord = [(tonic + SCALES[mode][degree]) % 12 for degree in (0, 2, 4)]
            begins = 0.5 * (notes[chord].sum() + bass[tonic])
            fit = float(np.corrcoef(all_notes, np.roll(sounding, tonic))[0, 1])
            fits[Key(tonic, mode)] = fit + _OPENING_WEIGHT * float(begins)
    return fits


def _with_partials(profile: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The profile of notes (12,), whose partials belong to other pitch classes, too."""
    sounding = np.zeros(12)
    for partial in range(1, _NUM_PARTIALS + 1):
        interval = round(12 * np.log2(partial))
        sounding += _PARTIAL_DECAY ** (partial - 1) * np.roll(profile, interval)
    return sounding


def _shares(classes: Classes) -> Shares:
    """How much of the time each pitch class sounds: (12, frames) → (12,).

    Each frame counts by the square root of its loudness, so that one loud passage isn't all.
    """
    loudness = classes.sum(axis=0, dtype=np.float64)
    total: Shares = (classes / np.sqrt(np.maximum(loudness, 1e-12))).sum(axis=1, dtype=np.float64)
    return total / max(float(total.sum()), 1e-12)
