"""Facts about a loop that captions may state: words that follow from its notes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from corpora.general_midi.notes import Note

LOOP_S = 5.12
_SLOW_BPM, _FAST_BPM = 71.0, 116.0
_SPARSE_PER_S, _BUSY_PER_S = 2.0, 4.2
_SOFT, _LOUD = 72.0, 90.0
_LOW, _HIGH = 0.36, 0.6

MOODS = ("happy", "sad", "calm", "dark", "bright", "energetic", "dreamy")


@dataclass(frozen=True)
class Facts:
    """Measured properties of a loop.

    Args:
        tempo_bpm: beats per minute.
        tempo: `slow`, `fast` or empty.
        moods: the items of `MOODS` that are true.
        onsets_per_s: different note starts per second.
    """

    tempo_bpm: float
    tempo: str
    moods: tuple[str, ...]
    onsets_per_s: float


def measure(
    notes: Sequence[Note],
    beats: int,
    mode: str,
    span: tuple[int, int],
    hits: Sequence[Note] = (),
    never: Sequence[str] = (),
) -> Facts:
    """The facts of a loop.

    Args:
        notes: all pitched notes.
        beats: length of the loop, which lasts 5.12 s.
        mode: `major`, `minor`, or empty if it is neither or unknown.
        span: range of the instrument, in MIDI pitches.
        hits: drum hits; they count as onsets only. Without pitched notes, no word is used that
            depends on mode, register or length.
        never: moods that are not used.

    The rules: happy = major, at least 2 onsets/s, not soft; sad = minor, under 4.2 onsets/s, soft,
    not fast; calm = under 2 onsets/s and soft; energetic = over 4.2 onsets/s and loud; dark = minor
    and low; bright = major and high; dreamy = under 2 onsets/s, soft, and notes over 1 s. Slow and
    fast follow from the beat, unless the onset rate contradicts it.
    """
    tempo_bpm = beats * 60 / LOOP_S
    played = [*notes, *hits]
    rate = len({round(note.start_beats * 12) for note in played}) / LOOP_S
    velocity = float(np.mean([note.velocity for note in played]))
    is_soft, is_loud = velocity < _SOFT, velocity > _LOUD
    is_fast = tempo_bpm > _FAST_BPM and rate > _SPARSE_PER_S
    is_slow = tempo_bpm < _SLOW_BPM and rate < _BUSY_PER_S + 1
    true = {
        "calm": rate < _SPARSE_PER_S and is_soft,
        "energetic": rate > _BUSY_PER_S and is_loud,
    }
    if notes:
        low, high = span
        height = float((np.mean([note.pitch for note in notes]) - low) / (high - low))
        length_s = float(np.mean([note.duration_beats for note in notes])) * 60 / tempo_bpm
        true |= {
            "happy": mode == "major" and rate >= _SPARSE_PER_S and not is_soft,
            "sad": mode == "minor" and rate < _BUSY_PER_S and is_soft and not is_fast,
            "dark": mode == "minor" and height < _LOW,
            "bright": mode == "major" and height > _HIGH,
            "dreamy": rate < _SPARSE_PER_S and is_soft and length_s > 1.0,
        }
    tempo = "slow" if is_slow else "fast" if is_fast else ""
    moods = tuple(mood for mood in MOODS if true.get(mood) and mood not in never)
    return Facts(tempo_bpm, tempo, moods, rate)
