"""Recordings at another tempo and in another key, listened to again."""

import numpy as np
import pytest

from riffusion.audio.compiled_librosa import load_librosa
from riffusion.audio.waveform import Waveform
from riffusion.editing.beat_grid import find_beat_grid
from riffusion.editing.key_finding import find_key
from riffusion.editing.listening import listen
from riffusion.editing.retiming import Retiming, plan_retiming, retimed
from riffusion.errors import InputError
from riffusion.loops.harmony import Key
from tests.editing.recording_in_memory import RecordingInMemory
from tests.editing.signals import BREAK, ROCK, chords, distances_s, drum_track, steady_beats

TEMPO_TOLERANCE = 0.001
BEAT_TOLERANCE_S = 0.012  # attacks are spread by the vocoder
PITCH_TOLERANCE_CENTS = 10.0


def song(key: str, tempo_bpm: float, duration_s: float, rate: int = 44_100) -> Waveform:
    beats = steady_beats(tempo_bpm, duration_s, 0.3)
    harmony = chords(Key.parse(key), (0, 3, 4, 0), beats, duration_s, sample_rate=rate)
    drums = drum_track(BREAK, beats, duration_s, sample_rate=rate)
    return np.concatenate([harmony + drums, 0.7 * harmony + drums]) * np.float32(0.5)


def retime(waveform: Waveform, rate: int, **wanted: float | str) -> tuple[Waveform, Retiming]:
    recording = RecordingInMemory(waveform, rate)
    plan = plan_retiming(recording, **wanted)
    return np.concatenate(list(retimed(recording, plan)), axis=1), plan


@pytest.mark.parametrize(("rate", "tempo_bpm"), [(48_000, 120.0), (44_100, 84.0)])
def test_tempo_and_key_of_a_song(rate: int, tempo_bpm: float) -> None:
    waveform = song("A minor", 93, 23.7, rate)
    result, plan = retime(waveform, rate, tempo_bpm=tempo_bpm, key="C minor")
    assert plan.beats is not None and plan.key is not None and plan.transposition is not None
    assert plan.beats.tempo_bpm == pytest.approx(93, rel=TEMPO_TOLERANCE)
    assert plan.key.key == Key.parse("A minor")
    assert plan.transposition.semitones == 3
    assert result.shape == (2, round(waveform.shape[1] * plan.length))
    heard = listen(RecordingInMemory(result, rate))
    grid = find_beat_grid(heard, tempo_bpm)
    assert grid.tempo_bpm == pytest.approx(tempo_bpm, rel=TEMPO_TOLERANCE)
    beats = steady_beats(93, 23.7, 0.3) * float(plan.length)
    assert distances_s(grid.beats_s, beats).max() < BEAT_TOLERANCE_S
    assert find_key(heard).key == Key.parse("C minor")


def test_librosa_hears_the_wanted_pitch() -> None:
    """A melody with vibrato-free notes; pYIN tracks it, to 2.5 cents and an octave around it."""
    rate, note_s = 22_050, 0.6
    notes = [57, 60, 64, 62, 65, 69, 67, 60]
    t = np.arange(round(note_s * rate)) / rate
    parts = []
    for note in notes:
        hz = 440 * 2 ** ((note - 69) / 12)
        wave = sum(0.3 / n * np.sin(2 * np.pi * n * hz * t) for n in (1, 2, 3))
        parts.append(wave * np.minimum(1, np.minimum(t, note_s - t) / 0.02))
    waveform = np.concatenate(parts)[None].astype(np.float32)
    result, plan = retime(waveform, rate, semitones=-3.0, tempo_bpm=125.0, from_tempo_bpm=100.0)
    assert result.shape[1] == round(waveform.shape[1] * 100 / 125)
    length_s = note_s * float(plan.length)
    for index, note in enumerate(notes):
        middle = slice(
            round((index + 0.2) * length_s * rate), round((index + 0.8) * length_s * rate)
        )
        f0, is_voiced, _ = load_librosa().pyin(
            result[0, middle], fmin=92, fmax=740, sr=rate, resolution=0.05
        )
        found = 69 + 12 * np.log2(np.median(f0[is_voiced]) / 440)
        assert abs(found - (note - 3)) * 100 < PITCH_TOLERANCE_CENTS


def test_a_given_tempo_is_exact_and_needs_no_beats() -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, (1, 30_011)).astype(np.float32)
    result, plan = retime(noise, 22_050, tempo_bpm=110.0, from_tempo_bpm=93.75)
    assert plan.beats is None
    assert result.shape[1] == round(30_011 * 93.75 / 110)


def test_semitones_alone_keep_the_length_and_need_no_key() -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, (2, 30_011)).astype(np.float32)
    result, plan = retime(noise, 22_050, semitones=2.0)
    assert (plan.key, plan.length) == (None, 1)
    assert result.shape == noise.shape


def test_a_key_of_the_other_mode_moves_the_tonic() -> None:
    recording = RecordingInMemory(song("E major", 100, 12), 44_100)
    plan = plan_retiming(recording, key="D minor")
    assert plan.semitones == -2
    assert plan.transposition is not None
    assert "will be in D major, not in D minor" in plan.transposition.remark


SILENCE = np.zeros((2, 5 * 22_050), np.float32)
SHORT = 0.1 * np.ones((1, 1102), np.float32)
DRUMS = drum_track(ROCK, steady_beats(120, 6), 6, sample_rate=22_050)


@pytest.mark.parametrize(
    ("waveform", "wanted", "message"),
    [
        (DRUMS, {}, "nothing to change; name the tempo_bpm, the key or the semitones"),
        (DRUMS, {"tempo_bpm": 20.0}, "tempo_bpm: 20.0 must be from 30 to 300"),
        (DRUMS, {"tempo_bpm": float("nan")}, "tempo_bpm: nan must be from 30 to 300"),
        (DRUMS, {"tempo_bpm": 90.0, "from_tempo_bpm": 0.0}, "from_tempo_bpm: 0.0 must be from 30"),
        (DRUMS, {"from_tempo_bpm": 90.0}, "from_tempo_bpm: 90 needs a tempo"),
        (DRUMS, {"tempo_bpm": 30.0, "from_tempo_bpm": 121.0}, "more than 4 times"),
        (DRUMS, {"semitones": 25.0}, "semitones: 25.0 must be from -24 to 24"),
        (DRUMS, {"semitones": float("inf")}, "semitones: inf must be from -24 to 24"),
        (DRUMS, {"semitones": 1.0, "key": "Am"}, "can't be combined with a key"),
        (DRUMS, {"key": "H moll"}, "'H moll' is not a key"),
        (DRUMS, {"key": "A minor"}, "no steady tones.*by how many semitones"),
        (SILENCE, {"key": "A minor"}, "silent, so it has no key"),
        (SILENCE, {"tempo_bpm": 120.0}, "silent, so it has no tempo.*name its tempo"),
        (SHORT, {"tempo_bpm": 120.0}, "0.05 s is too short"),
        (SHORT[:, :0], {"semitones": 1.0}, "no samples"),
    ],
)
def test_what_can_not_be_done_is_refused(
    waveform: Waveform, wanted: dict[str, float | str], message: str
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        retime(waveform, 22_050, **wanted)
    assert "\n" not in str(caught.value)
