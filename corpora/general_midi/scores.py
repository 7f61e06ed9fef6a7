"""Public-domain scores of music21's corpus, as tables of notes.

Parsing a score takes up to half a second, so a fixed selection of works is parsed once and kept in
the user's cache. A tenth of the works is used for validation only.
"""

import gzip
import json
import logging
import os
import random
import warnings
import zlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from corpora.general_midi.notes import Note
from riffusion.errors import InputError
from riffusion.io.files import write_file

logger = logging.getLogger(__name__)

VERSION = 2
"""Version of the cache; it changes with the selection of works and with the tables."""
COLLECTIONS = {
    "chorales": ("bach", 140),
    "tunes": ("ryansMammoth", 220),
    "ragtime": ("joplin", 1),
}
"""Folder of music21's corpus, and the number of its works that are used."""
VALIDATION_SHARE = 0.1
_RESTRICTED, _FREE = ".krn", ".mxl"
"""The few Humdrum files reserve rights; MusicXML files of the same works are used instead."""


@dataclass(frozen=True)
class Score:
    """A work.

    Args:
        name: its file name without suffix.
        collection: one of `COLLECTIONS`.
        mode: `major` or `minor`.
        beat_quarters: length of a beat in quarter notes.
        bars: starts of the bars, in quarter notes.
        length: length of the work, in quarter notes.
        voices: for each voice, (start, duration, pitch) in quarter notes and MIDI pitches.
    """

    name: str
    collection: str
    mode: str
    beat_quarters: float
    bars: tuple[float, ...]
    length: float
    voices: tuple[tuple[tuple[float, float, int], ...], ...]

    @property
    def split(self) -> Literal["train", "validation"]:
        """The split that its windows belong to."""
        is_kept = zlib.crc32(self.name.encode()) % 1000 < 1000 * VALIDATION_SHARE
        return "validation" if is_kept else "train"

    def window(self, first_bar: int, beats: int, speed: int) -> list[list[Note]]:
        """The notes of each voice in a window that starts at a bar.

        Args:
            first_bar: index into `bars`.
            beats: length of the window in beats of the loop.
            speed: beats of the score per beat of the loop, 1 or 2.
        """
        quarter = 1 / (self.beat_quarters * speed)
        start = self.bars[first_bar]
        end = start + beats / quarter
        return [
            [
                Note((at - start) * quarter, (min(at + held, end) - at) * quarter, pitch, 80)
                for at, held, pitch in voice
                if start <= at < end
            ]
            for voice in self.voices
        ]

    def windows(self, beats: int, speed: int) -> list[int]:
        """Indices of the bars at which a window of `beats` beats fits."""
        span = beats * self.beat_quarters * speed
        return [i for i, at in enumerate(self.bars) if at + span <= self.length + 1e-6]


def cache_path() -> Path:
    """Path of the parsed scores, in `$XDG_CACHE_HOME/riffusion`, by default in `~/.cache`."""
    root = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(root) / "riffusion" / f"scores-{VERSION}.json.gz"


def load_scores(progress: Callable[[int, int], None] | None = None) -> list[Score]:
    """All scores. The first call parses them, which takes half a minute.

    Args:
        progress: called with (works parsed, total).

    Raises:
        InputError: music21 or its scores aren't installed, or the cache can't be written.
    """
    path = cache_path()
    if path.is_file():
        try:
            return [_score(entry) for entry in json.loads(gzip.decompress(path.read_bytes()))]
        except (OSError, EOFError, ValueError, TypeError, KeyError, zlib.error) as error:
            logger.warning("%s is damaged (%s); the scores are parsed again", path, error)
    scores = parse_scores({name: limit for name, (_, limit) in COLLECTIONS.items()}, progress)
    if not scores:
        raise InputError(
            "music21 is installed without its scores; `pip install --force-reinstall music21`, or "
            "use --no-scores"
        )
    data = json.dumps([asdict(score) for score in scores], separators=(",", ":")).encode()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"cache={str(path.parent)!r} cannot be created ({error.strerror}); set XDG_CACHE_HOME "
            "to a writable folder, or use --no-scores"
        ) from error
    write_file(gzip.compress(data, mtime=0), path)
    return scores


def parse_scores(
    limits: dict[str, int], progress: Callable[[int, int], None] | None = None
) -> list[Score]:
    """Parse a fixed selection of works.

    Args:
        limits: number of works per collection.
        progress: called with (works parsed, total).

    Raises:
        InputError: music21 isn't installed.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from music21 import converter, corpus
    except ImportError as error:
        raise InputError(
            f"music21 cannot be loaded ({error}); `pip install music21`, or use --no-scores"
        ) from error
    works: list[tuple[str, Path]] = []
    for name, limit in limits.items():
        folder = COLLECTIONS[name][0]
        paths = sorted(p for p in map(Path, corpus.getCorePaths()) if p.parent.name == folder)
        random.Random(folder).shuffle(paths)
        free = {p.with_suffix(_FREE) if p.suffix == _RESTRICTED else p for p in paths[:limit]}
        works += [(name, path) for path in sorted(free) if path.is_file()]
    scores = []
    for done, (name, path) in enumerate(works, start=1):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                # music21 leaves ABC files open that it can't read, so it is given the text.
                parsed = (
                    converter.parseData(path.read_text("utf-8"), format="abc")
                    if path.suffix == ".abc"
                    else converter.parse(path, forceSource=True, storePickle=False)
                )
                score = _from_music21(parsed, path.stem, name)
            except Exception as error:  # music21 raises any exception; the score is left out
                logger.info("%s cannot be parsed: %s", path, error)
                score = None
        if score is not None:
            scores.append(score)
        if progress is not None:
            progress(done, len(works))
    return scores


def _from_music21(parsed: Any, name: str, collection: str) -> Score | None:
    """The table of a work, or None if it has no notes."""
    voices = []
    for part in parsed.parts:
        notes = []
        for element in part.flatten().stripTies().notes:
            if "ChordSymbol" in element.classes or element.duration.quarterLength <= 0:
                continue
            start, held = float(element.offset), float(element.duration.quarterLength)
            notes += [(start, held, int(pitch.midi)) for pitch in element.pitches]
        if notes:
            voices.append(tuple(sorted(notes)))
    if not voices:
        return None
    measures = list(parsed.parts[0].getElementsByClass("Measure"))
    full = max((m.duration.quarterLength for m in measures), default=0)
    bars = tuple(float(m.offset) for m in measures if m.duration.quarterLength == full)
    signature = next(iter(parsed.recurse().getElementsByClass("TimeSignature")), None)
    beat = float(signature.beatDuration.quarterLength) if signature is not None else 1.0
    mode = parsed.analyze("key").mode
    length = max(start + held for voice in voices for start, held, _ in voice)
    return Score(name, collection, mode, beat, bars, float(length), tuple(voices))


def _score(entry: dict[str, Any]) -> Score:
    voices = tuple(
        tuple((float(at), float(held), int(pitch)) for at, held, pitch in voice)
        for voice in entry.pop("voices")
    )
    return Score(voices=voices, bars=tuple(entry.pop("bars")), **entry)


_MAJOR = (6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88)
_MINOR = (6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17)


def mode_of(notes: list[Note]) -> str:
    """`major` or `minor`, whichever fits the notes better; empty if that is unclear.

    The durations of the twelve pitch classes are correlated with the key profiles of
    C. L. Krumhansl, "Cognitive Foundations of Musical Pitch", 1990.
    """
    weights = np.zeros(12)
    for note in notes:
        weights[note.pitch % 12] += note.duration_beats
    if np.ptp(weights) == 0:
        return ""
    best = {
        mode: max(float(np.corrcoef(np.roll(profile, k), weights)[0, 1]) for k in range(12))
        for mode, profile in (("major", _MAJOR), ("minor", _MINOR))
    }
    if abs(best["major"] - best["minor"]) < 0.04:
        return ""
    return max(best, key=lambda mode: best[mode])
