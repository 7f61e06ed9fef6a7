"""The key of recordings with a known one, names of keys, and distances between them."""

import numpy as np
import pytest

from riffusion.audio.waveform import Waveform, resample
from riffusion.editing.key_finding import FoundKey, find_key
from riffusion.editing.listening import listen
from riffusion.editing.transposing import transposition
from riffusion.errors import InputError
from riffusion.loops.arrangements import ARRANGEMENTS
from riffusion.loops.grid import LoopGrid
from riffusion.loops.harmony import Key
from riffusion.loops.rendering import render_loop
from riffusion.spectrogram.params import SpectrogramParams
from tests.editing.recording_in_memory import RecordingInMemory
from tests.editing.signals import BREAK, ROCK, chords, clicks, drum_track, steady_beats

RATE = 44_100
TUNING_TOLERANCE_CENTS = 2.0
BEATS = steady_beats(100, 20)
PROGRESSIONS = {
    "major": [(0, 4, 5, 3), (0, 3, 4, 0), (0, 5, 1, 4)],
    "minor": [(0, 5, 2, 6), (0, 3, 4, 0), (0, 6, 5, 4)],
}


def key_of(waveform: Waveform, rate: int = RATE) -> FoundKey:
    return find_key(listen(RecordingInMemory(waveform, rate)))


@pytest.mark.parametrize("mode", ["major", "minor"])
@pytest.mark.parametrize("tonic", range(12))
def test_chord_progressions(tonic: int, mode: str) -> None:
    key = Key(tonic, mode)
    progression = PROGRESSIONS[mode][tonic % 3]
    assert key_of(chords(key, progression, BEATS, 20)).key == key


@pytest.mark.parametrize("rate", [22_050, 48_000])
def test_drums_do_not_hide_it_at_any_rate(rate: int) -> None:
    key = Key.parse("F# minor")
    harmony = chords(key, (0, 3, 4, 0), BEATS, 20, sample_rate=rate)
    found = key_of(harmony + drum_track(ROCK, BEATS, 20, sample_rate=rate), rate)
    assert found.key == key
    assert found.certainty > 0.6


@pytest.mark.parametrize("key", ["A minor", "C minor", "F# major"])
@pytest.mark.parametrize("style", ["og_beat", "marim", "vibes"])
def test_loops_of_the_project(style: str, key: str) -> None:
    arrangement = ARRANGEMENTS[style]
    grid = LoopGrid.fit(arrangement.beats, arrangement.tempo_bpm, SpectrogramParams())
    loop = render_loop(arrangement, grid, Key.parse(key))
    assert key_of(np.tile(loop, (1, 3))).key == Key.parse(key)


@pytest.mark.parametrize("cents", [-40, -12, 0, 12, 40])
def test_the_tuning_does_not_matter(cents: int) -> None:
    other_rate = round(RATE * 2 ** (-cents / 1200))
    waveform = resample(chords(Key.parse("G major"), (0, 3, 4, 0), BEATS, 20), RATE, other_rate)
    found = key_of(waveform)
    assert found.key == Key.parse("G major")
    assert found.tuning_cents == pytest.approx(cents, abs=TUNING_TOLERANCE_CENTS)


@pytest.mark.parametrize(
    ("waveform", "why"),
    [
        (np.zeros((1, 0), np.float32), "silent"),
        (np.zeros((2, RATE), np.float32), "silent"),
        (np.random.default_rng(0).normal(0, 0.1, (1, 8 * RATE)).astype(np.float32), "no steady"),
        (drum_track(BREAK, BEATS, 12), "no steady tones"),
        (clicks(BEATS, 12), "no steady tones"),
    ],
    ids=["empty", "silence", "noise", "drums", "clicks"],
)
def test_without_tones_there_is_no_key(waveform: Waveform, why: str) -> None:
    with pytest.raises(InputError, match=rf"{why}.*by how many semitones"):
        key_of(waveform)


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("A minor", Key(9, "minor")),
        ("Am", Key(9, "minor")),
        ("am", Key(9, "minor")),
        ("F# major", Key(6, "major")),
        ("Bb", Key(10, "major")),
        ("B♭ min", Key(10, "minor")),
        ("c-sharp minor".replace("-sharp", "#"), Key(1, "minor")),
        ("Cb major", Key(11, "major")),
        ("Eb Maj", Key(3, "major")),
        ("AM", Key(9, "major")),
    ],
)
def test_names_of_keys(name: str, key: Key) -> None:
    assert Key.parse(name) == key
    assert Key.parse(key.name) == key


@pytest.mark.parametrize(
    "name", ["H moll", "", "A dorian", "minor", "A  # minor", "A minor 7", "9"]
)
def test_what_is_no_key_is_refused_with_the_list(name: str) -> None:
    with pytest.raises(
        InputError, match=r"is not a key; .*C, C#, D, Eb, E, F, F#, G, Ab, A, Bb, B"
    ):
        Key.parse(name)


@pytest.mark.parametrize(
    ("found", "wanted", "semitones"),
    [
        ("A minor", "C minor", 3),
        ("C minor", "A minor", -3),
        ("A minor", "A minor", 0),
        ("A minor", "F minor", -4),
        ("C major", "F# major", 6),
        ("F# major", "C major", 6),
        ("B major", "C major", 1),
        ("C major", "B major", -1),
        ("C major", "G major", -5),
    ],
)
def test_the_nearest_way_to_a_key_of_the_same_mode(found: str, wanted: str, semitones: int) -> None:
    moved = transposition(Key.parse(found), Key.parse(wanted))
    assert (moved.semitones, moved.result, moved.remark) == (semitones, Key.parse(wanted), "")


def test_another_mode_moves_the_tonic_and_says_so() -> None:
    moved = transposition(Key.parse("A minor"), Key.parse("C major"))
    assert (moved.semitones, moved.result) == (3, Key.parse("C minor"))
    assert "will be in C minor, not in C major" in moved.remark
    assert "ask for A minor" in moved.remark  # which has the notes of C major
    moved = transposition(Key.parse("E major"), Key.parse("D minor"))
    assert (moved.semitones, moved.result) == (-2, Key.parse("D major"))
    assert "ask for F major" in moved.remark
