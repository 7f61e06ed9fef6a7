"""What is heard in a clip, and whether it is as promised.

The wanted tempo is known, so the question is whether onsets repeat with its period, and with none
beside it. Onsets also have to be strong: a pad's slow beating repeats too, and nobody would tap it.
"""

from dataclasses import dataclass

import numpy as np

from riffusion.audio import Audio
from riffusion.editing.beat_grid import MIN_DURATION_S, find_beat_grid
from riffusion.editing.key_finding import FoundKey, find_key
from riffusion.editing.listening import Heard, listen
from riffusion.editing.sound import SoundInMemory
from riffusion.editing.tempo_path import tempo_path
from riffusion.editing.transposing import same_notes
from riffusion.errors import InputError
from riffusion.loops.harmony import Key
from riffusion.loops.onsets import strength_from_bands

LARGEST_ERROR_PERCENT = 0.5
"""Largest error of a tempo that is kept; in clips of 4 s and more it is heard within 0.2 %."""
LEAST_CERTAINTY = 0.25
"""A tempo counts as heard from this certainty on; noise and pads have up to 0.1."""
LEAST_KEY_CERTAINTY = 0.6
"""A key counts as another one from this certainty on."""
_IRREGULAR, _REGULAR = 0.06, 0.35
"""Mean correlations of onsets one to four beats apart at and below which there is no beat, and at
and above which there surely is one; as in `riffusion.editing.beat_grid`."""
_WEAK, _STRONG = 4.5, 6.0
"""Onset strengths that 1 % of the frames exceed: pads have 4 to 4.5, church bells 7, a piano 11 to
13, drums 15 to 23."""
_ENDS = 5
"""Frames at either end where a sound that is cut off looks like an onset."""


@dataclass(frozen=True)
class Hearing:
    """What is heard in a clip.

    Args:
        tempo_bpm: the tempo nearest to the wanted one; None if there is no beat at all.
        tempo_certainty: from 0 to 1.
        key: the key; None if there is none.
        downbeats_s: times of the beats that begin a bar.
    """

    tempo_bpm: float | None
    tempo_certainty: float
    key: FoundKey | None
    downbeats_s: tuple[float, ...] = ()


def hear(audio: Audio, wanted_bpm: float | None) -> Hearing:
    """Listen to a clip.

    Args:
        audio: the clip.
        wanted_bpm: the tempo to look for, within 6 %; None if it doesn't matter.
    """
    heard = listen(SoundInMemory(audio))
    key = _key(heard)
    if wanted_bpm is None or heard.duration_s < MIN_DURATION_S or heard.peak == 0:
        return Hearing(None, 0.0, key)
    tempo, certainty = _pulse(heard, wanted_bpm)
    if certainty == 0:
        return Hearing(None, 0.0, key)
    return Hearing(tempo, certainty, key, _downbeats_s(heard, tempo))


def tempo_error_percent(hearing: Hearing, wanted_bpm: float | None) -> float | None:
    """Difference of the heard tempo from the wanted one; None if no beat is heard."""
    if hearing.tempo_bpm is None or wanted_bpm is None or hearing.tempo_certainty < LEAST_CERTAINTY:
        return None
    return 100 * (hearing.tempo_bpm / wanted_bpm - 1)


def is_in_tempo(hearing: Hearing, wanted_bpm: float) -> bool:
    """Whether the wanted tempo is heard, within 0.5 %."""
    error = tempo_error_percent(hearing, wanted_bpm)
    return error is not None and abs(error) <= LARGEST_ERROR_PERCENT


def is_in_key(hearing: Hearing, wanted: Key) -> bool:
    """Whether the wanted key is heard, or the one of the other mode with the same notes."""
    return hearing.key is not None and same_notes(hearing.key.key, wanted.mode) == wanted


def _key(heard: Heard) -> FoundKey | None:
    try:
        return find_key(heard)
    except InputError:
        return None


def _pulse(heard: Heard, near_bpm: float) -> tuple[float, float]:
    """The tempo near a known one at which onsets repeat most clearly, and its certainty."""
    strength = strength_from_bands(heard.bands)
    path = tempo_path(strength, heard.step_s, near_bpm)
    loud = float(np.percentile(strength[_ENDS:-_ENDS], 99))
    certainty = _share(path.regularity, _IRREGULAR, _REGULAR) * _share(loud, _WEAK, _STRONG)
    return 60 / (float(np.mean(path.periods)) * heard.step_s), certainty


def _downbeats_s(heard: Heard, tempo_bpm: float) -> tuple[float, ...]:
    """Times of the downbeats at a tempo; none if the beats that were found have another one."""
    try:
        grid = find_beat_grid(heard, tempo_bpm)
    except InputError:
        return ()
    if abs(grid.tempo_bpm / tempo_bpm - 1) > 2 * LARGEST_ERROR_PERCENT / 100:
        return ()
    beat_s = 60 / tempo_bpm
    numbers = np.arange(grid.beats_s.size)
    first_s = float(np.median(grid.beats_s - numbers * beat_s))
    times = first_s + beat_s * numbers[grid.first_downbeat :: grid.metre]
    is_inside = times < heard.duration_s - beat_s / 2  # what is later begins the loop again
    return tuple(round(max(0.0, float(time_s)), 3) for time_s in times[is_inside])


def _share(value: float, low: float, high: float) -> float:
    return float(np.clip((value - low) / (high - low), 0, 1))
