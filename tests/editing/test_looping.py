"""Loops cut out of recordings, repeated and listened to again."""

import numpy as np
import pytest

from riffusion.audio.compiled_librosa import load_librosa_beat
from riffusion.audio.waveform import Waveform
from riffusion.editing.beat_grid import find_beat_grid
from riffusion.editing.listening import listen
from riffusion.editing.looping import Loop, cut_out_loop, seam_novelty
from riffusion.errors import InputError
from riffusion.loops.harmony import Key
from riffusion.loops.onsets import OnsetFrames
from tests.editing.recording_in_memory import RecordingInMemory
from tests.editing.signals import BREAK, ROCK, chords, distances_s, drum_track, steady_beats

RATE = 44_100
STEP_S = 0.01
HOP = round(STEP_S * RATE)
TEMPO_TOLERANCE = 0.005
START_TOLERANCE_S = 0.004
SEAM_S = 0.05
OWN_ONSET_TOLERANCE = 1.1
"""How much stronger the first beat's onset may be than it is in the recording."""
BEATS = steady_beats(93, 40, 0.3)
DRUMS = drum_track(ROCK, BEATS, 40)
SONG = 0.6 * (chords(Key.parse("A minor"), (0, 5, 3, 4), BEATS, 40) + DRUMS)


def loop_of(waveform: Waveform, rate: int = RATE, **wanted: float) -> Loop:
    return cut_out_loop(RecordingInMemory(waveform, rate), **wanted)


def flux(waveform: Waveform, loudest: float) -> np.ndarray:
    """Spectral flux per 10 ms of loudness relative to `loudest`."""
    frames = OnsetFrames(RATE)
    frames.push(waveform)
    loudness = np.log1p(1000 * frames.finish() / loudest)
    return np.maximum(np.diff(loudness, axis=1, prepend=loudness[:, :1]), 0).sum(axis=0)


def loudest_band(waveform: Waveform) -> float:
    frames = OnsetFrames(RATE)
    frames.push(waveform)
    return float(frames.finish().max())


def strongest(strength: np.ndarray, time_s: float) -> float:
    first = max(0, round((time_s - SEAM_S) / STEP_S))
    return float(strength[first : round((time_s + SEAM_S) / STEP_S) + 1].max())


@pytest.mark.parametrize("beats", [4, 8, 16])
@pytest.mark.parametrize("tempo_bpm", [None, 93.0, 100.0, 80.0])
@pytest.mark.parametrize("kind", ["drums", "song"])
def test_a_repeated_loop_has_no_seam(kind: str, tempo_bpm: float | None, beats: int) -> None:
    waveform = {"drums": DRUMS, "song": SONG}[kind]
    loop = loop_of(waveform, beats=beats, tempo_bpm=tempo_bpm)
    tempo = tempo_bpm or loop.tempo_bpm
    num_samples = loop.waveform.shape[1]
    assert num_samples == round(beats * 60 / tempo * RATE)
    # What the recording itself has there isn't novel, even if it is the strongest onset.
    loudest = loudest_band(loop.waveform)
    inside = np.percentile(flux(loop.waveform, loudest), 99)
    start = round(loop.start_s * RATE)
    strength = flux(np.tile(loop.waveform, (1, 4)), loudest)
    for seam in range(1, 4):
        novelty = strongest(strength, seam * num_samples / RATE)
        # An attack's flux depends on where frames begin, so they begin alike.
        before = start // HOP * HOP - HOP + seam * num_samples % HOP
        span = waveform[:, start - before : start + RATE]
        own = strongest(flux(span, loudest), before / RATE)
        assert novelty < max(inside, OWN_ONSET_TOLERANCE * own)


@pytest.mark.parametrize(("beats", "tempo_bpm"), [(8, None), (8, 120.0), (4, 100.0), (16, 75.0)])
def test_repetitions_keep_the_tempo(beats: int, tempo_bpm: float | None) -> None:
    loop = loop_of(SONG, beats=beats, tempo_bpm=tempo_bpm)
    tempo = tempo_bpm or 93.0
    repeated = np.tile(loop.waveform, (1, 6))
    grid = find_beat_grid(listen(RecordingInMemory(repeated, RATE)), tempo)
    assert grid.tempo_bpm == pytest.approx(tempo, rel=TEMPO_TOLERANCE)
    starts = np.arange(6) * loop.waveform.shape[1] / RATE
    assert distances_s(grid.beats_s, starts).max() < 3 * START_TOLERANCE_S
    # librosa's own estimate has steps of 2 to 3 %, so its beats are counted over the repetitions.
    theirs = load_librosa_beat().beat_track(
        y=repeated[0], sr=RATE, units="time", start_bpm=tempo, hop_length=256, trim=False
    )[1][2:-2]
    numbers = np.rint((theirs - theirs[0]) * tempo / 60)
    period = np.polyfit(numbers, theirs, 1)[0]
    assert 60 / period == pytest.approx(tempo, rel=TEMPO_TOLERANCE)


@pytest.mark.parametrize("from_s", [0.0, 5.0, 12.3, 30.0])
def test_it_begins_at_the_nearest_downbeat(from_s: float) -> None:
    downbeats = BEATS[::4]
    nearest = downbeats[np.argmin(np.abs(downbeats - from_s))]
    loop = loop_of(SONG, from_s=from_s)
    assert loop.start_s == pytest.approx(nearest, abs=START_TOLERANCE_S)
    assert loop.end_s - loop.start_s == pytest.approx(8 * 60 / 93, rel=0.001)


def test_without_a_wish_it_begins_at_a_downbeat_whose_surroundings_repeat() -> None:
    """Only from 20.9 s on do the bars repeat; before, each has another level and pattern."""
    rng = np.random.default_rng(3)
    levels = 10 ** (rng.uniform(-20, 0, 8) / 20)
    uneven = DRUMS.copy()
    bar = 4 * 60 / 93
    for index, level in enumerate(levels):
        part = slice(round((0.3 + index * bar) * RATE), round((0.3 + (index + 1) * bar) * RATE))
        uneven[:, part] *= np.float32(level)
    loop = loop_of(uneven)
    assert loop.start_s > 0.3 + 7.5 * bar
    assert distances_s(BEATS[::4], np.array([loop.start_s])).max() < START_TOLERANCE_S


def test_the_first_beat_is_the_recordings_own() -> None:
    """Only the end is crossfaded: everything before it is the recording's own, to the sample."""
    loop = loop_of(SONG, from_s=10.0)
    start = round(loop.start_s * RATE)
    unchanged = loop.waveform.shape[1] - round(0.03 * RATE)
    np.testing.assert_array_equal(loop.waveform[:, :unchanged], SONG[:, start : start + unchanged])


def test_a_recording_that_is_a_loop_already() -> None:
    bars = drum_track(ROCK, steady_beats(120, 4.0), 4.0)
    loop = loop_of(bars, beats=8, from_tempo_bpm=120)
    assert loop.waveform.shape[1] == pytest.approx(4 * RATE, abs=RATE // 200)
    assert loop.start_s < START_TOLERANCE_S


@pytest.mark.parametrize("rate", [22_050, 48_000])
def test_stereo_and_other_rates(rate: int) -> None:
    mono = drum_track(BREAK, steady_beats(110, 20, 0.2), 20, sample_rate=rate)
    stereo = np.concatenate([mono, 0.5 * mono])
    loop = loop_of(stereo, rate, beats=8, tempo_bpm=110.0)
    assert loop.waveform.shape == (2, round(8 * 60 / 110 * rate))
    assert loop.grid.tempo_bpm == pytest.approx(110, rel=TEMPO_TOLERANCE)


def test_a_cut_at_any_place_is_novel() -> None:
    """The measure can fail: a loop of a length that isn't whole beats has a novel seam."""
    start = round(BEATS[8] * RATE)
    cut = drum_track({"closed_hat": "o.o.o.o."}, BEATS, 40)[:, start : start + 100_000]
    cut = cut * 0.1
    cut[:, :2000] += 0.5 * np.random.default_rng(0).normal(0, 1, (1, 2000)).astype(np.float32)
    assert seam_novelty(cut, RATE) > 1.5


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"beats": 0}, "beats: 0 must be a whole number from 1 to 256"),
        ({"beats": 257}, "beats: 257 must be a whole number from 1 to 256"),
        ({"beats": 100}, "beats: 100 are more than the recording has: 61 whole beats"),
        ({"tempo_bpm": 10.0}, "from 30 to 300"),
        ({"tempo_bpm": 300.0, "from_tempo_bpm": 46.5}, "more than 4 times"),
        ({"from_s": -1.0}, "0 s or more"),
        ({"from_s": 41.0}, "after the recording's end"),
        ({"from_s": 39.0}, r"8 beats from 39\.00 s on are more than the recording has; begin at"),
    ],
)
def test_what_can_not_be_cut_is_refused(wanted: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        loop_of(SONG, **wanted)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("waveform", "message"),
    [
        (np.zeros((1, 10 * RATE), np.float32), "silent"),
        (np.zeros((1, 2205), np.float32), "too short"),
        (np.random.default_rng(0).normal(0, 0.1, (1, 441_000)).astype(np.float32), "no beat"),
    ],
)
def test_without_beats_there_is_no_loop(waveform: Waveform, message: str) -> None:
    with pytest.raises(InputError, match=message):
        loop_of(waveform)
