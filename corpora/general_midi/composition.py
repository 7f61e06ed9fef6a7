"""Composes a clip: notes, and the facts about them.

A clip depends only on (seed, sound, split, index), not on the order or the number of processes in
which the corpus is made.
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from corpora.general_midi.ensembles import ENSEMBLES
from corpora.general_midi.facts import Facts, measure
from corpora.general_midi.idioms import IDIOMS
from corpora.general_midi.notes import Note, Part
from corpora.general_midi.scores import Score, mode_of
from corpora.general_midi.setting import make_setting
from corpora.general_midi.sound import Sound
from riffusion.datasets.folder import Split

BEATS = (6, 8, 10, 12)
"""Whole beats in 5.12 s: 70.3, 93.75, 117.2 and 140.6 beats per minute."""
_BEAT_WEIGHTS = {
    "": (0.16, 0.54, 0.13, 0.17),
    "hip hop beat": (0.30, 0.60, 0.10, 0.0),
    "lofi hip hop": (0.40, 0.60, 0.0, 0.0),
    "techno beat": (0.0, 0.34, 0.26, 0.40),
    "ambient pad": (0.35, 0.55, 0.10, 0.0),
}
_SCORE_SHARE = 0.3
_MAX_TRIES = 20


@dataclass(frozen=True)
class Clip:
    """A clip as notes.

    Args:
        sound: its sound.
        split: its split.
        index: number within its sound and split.
        beats: length of the loop in beats.
        parts: the notes of each instrument.
        facts: facts that captions may state.
        style: style such as `folk`.
        mode: `major`, `minor` or empty.
        source: the score, or `patterns`.
        reverb: level of the reverb, 0 to 1.
    """

    sound: Sound
    split: Split
    index: int
    beats: int
    parts: tuple[Part, ...]
    facts: Facts
    style: str
    mode: str
    source: str
    reverb: float


def clip_rng(
    seed: int, sound: Sound, split: Split, index: int, purpose: str
) -> np.random.Generator:
    """The generator of one clip for one purpose, independent of all others."""
    names = [zlib.crc32(text.encode()) for text in (sound.label, split, purpose)]
    return np.random.default_rng([seed, *names, index])


def compose(
    sound: Sound, split: Split, index: int, seed: int, scores: Sequence[Score] = ()
) -> Clip:
    """Compose a clip.

    Args:
        sound, split, index, seed: the clip depends only on these.
        scores: all scores; if there are none, every clip is made of patterns.
    """
    rng = clip_rng(seed, sound, split, index, "notes")
    weights = _BEAT_WEIGHTS.get(sound.label, _BEAT_WEIGHTS[""])
    beats = int(rng.choice(BEATS, p=weights))
    velocity = int(rng.choice([58, 66, 80, 92, 104]))
    reverb = float(rng.uniform(0.1, 0.45))
    program = int(rng.choice(sound.programs)) if sound.programs else 0
    works = [score for score in scores if score.collection in sound.scores and score.split == split]
    if works and rng.random() < _SCORE_SHARE:
        excerpt = _excerpt(sound, works, beats, velocity, rng)
        if excerpt is not None:
            notes, score, mode = excerpt
            part = Part(program, tuple(notes), sound.bank, vibrato=sound.vibrato)
            facts = measure(notes, beats, mode, (sound.low, sound.high), (), sound.never)
            style = {"chorales": "baroque", "tunes": "folk", "ragtime": "ragtime"}[score.collection]
            source = f"music21 corpus: {score.name}"
            return Clip(sound, split, index, beats, (part,), facts, style, mode, source, reverb)
    mode = str(rng.choice(["major", "minor"]))
    density = int(rng.choice([0, 1, 2], p=[0.3, 0.4, 0.3]))
    register = float(rng.choice([0.1, 0.5, 0.9]))
    style = str(rng.choice(sound.styles))
    setting = make_setting(rng, beats, mode, density, velocity, register, style)
    if sound.kind == "mixture":
        parts = ENSEMBLES[sound.idiom](setting)
    else:
        played = IDIOMS[sound.idiom](sound, setting)
        parts = (Part(program, tuple(sorted(played)), sound.bank, vibrato=sound.vibrato),)
    mode = "" if sound.kind == "beat" else mode
    pitched = [note for part in parts if not part.bank for note in part.notes]
    hits = [note for part in parts if part.bank for note in part.notes]
    facts = measure(pitched, beats, mode, (sound.low, sound.high), hits, sound.never)
    return Clip(sound, split, index, beats, parts, facts, style, mode, "patterns", reverb)


def _excerpt(
    sound: Sound, works: Sequence[Score], beats: int, velocity: int, rng: np.random.Generator
) -> tuple[list[Note], Score, str] | None:
    """A random window of a score in the instrument's range, with score and mode, if one fits."""
    for _ in range(_MAX_TRIES):
        score = works[int(rng.integers(len(works)))]
        speed = int(rng.choice([1, 2], p=[0.6, 0.4])) if score.collection != "chorales" else 1
        first_bars = score.windows(beats, speed)
        if not first_bars:
            continue
        voices = score.window(int(rng.choice(first_bars)), beats, speed)
        if sound.voices:
            voices = voices[: sound.voices]
        notes = [note for voice in voices for note in voice]
        if len(notes) < beats // 2 or min(note.start_beats for note in notes) > 0.01:
            continue
        mode = mode_of(notes)
        moved = _transposed(notes, sound, rng)
        if moved is None:
            continue
        spread = rng.normal(0, 4, len(moved))
        return (
            [
                replace(
                    note,
                    velocity=int(
                        np.clip(velocity + 6 * (note.start_beats % 1 == 0) + soft, 12, 127)
                    ),
                    duration_beats=note.duration_beats * 0.95,
                )
                for note, soft in zip(moved, spread, strict=True)
            ],
            score,
            mode if mode == score.mode else "",
        )
    return None


def _transposed(notes: Sequence[Note], sound: Sound, rng: np.random.Generator) -> list[Note] | None:
    """The notes transposed into the instrument's range; None if their span is too large."""
    low, high = min(n.pitch for n in notes), max(n.pitch for n in notes)
    shifts = range(sound.low - low, sound.high - high + 1)
    if not shifts:
        return None
    centre = (sound.low + sound.high - low - high) // 2
    shift = centre + int(rng.integers(-6, 7))
    shift = max(shifts[0], min(shifts[-1], shift))
    return [replace(note, pitch=note.pitch + shift) for note in notes]
