"""Tempo, beats and downbeats: music with known ones, and librosa's opinion."""

import numpy as np
import pytest

from riffusion.audio.compiled_librosa import load_librosa_beat
from riffusion.audio.waveform import Waveform, resample
from riffusion.editing.beat_grid import BeatGrid, find_beat_grid
from riffusion.editing.listening import listen
from riffusion.errors import InputError
from riffusion.loops.arrangements import ARRANGEMENTS
from riffusion.loops.grid import LoopGrid
from riffusion.loops.harmony import Key
from riffusion.loops.rendering import render_loop
from riffusion.spectrogram.params import SpectrogramParams
from tests.editing.recording_in_memory import RecordingInMemory
from tests.editing.signals import (
    BREAK,
    FOUR_ON_THE_FLOOR,
    ROCK,
    WALTZ,
    Times,
    chords,
    clicks,
    distances_s,
    drifting_beats,
    drum_track,
    steady_beats,
)

RATE = 44_100
TEMPO_TOLERANCE = 0.001  # relative; half a millisecond per beat over 15 s
SHORT_TEMPO_TOLERANCE = 0.005
BEAT_TOLERANCE_S = 0.004  # one and a half frames of energy
DRIFTING_BEAT_TOLERANCE_S = 0.012
LIBROSA_TOLERANCE_S = 0.035  # its frames are 23 ms apart, and its onsets early by one


def grid_of(waveform: Waveform, rate: int = RATE, tempo_bpm: float | None = None) -> BeatGrid:
    return find_beat_grid(listen(RecordingInMemory(waveform, rate)), tempo_bpm)


def assert_same_beats(found: Times, true: Times, tolerance_s: float) -> None:
    """Every true beat is found, and no other between the first and the last of them."""
    assert distances_s(found, true).max() < tolerance_s
    between = found[(found > true[0] - tolerance_s) & (found < true[-1] + tolerance_s)]
    assert between.size == true.size


@pytest.mark.parametrize("tempo_bpm", [75.0, 93.0, 110.0, 128.0, 150.0])
@pytest.mark.parametrize("pattern", [ROCK, BREAK, FOUR_ON_THE_FLOOR], ids=["rock", "break", "four"])
def test_drums(pattern: dict[str, str], tempo_bpm: float) -> None:
    beats = steady_beats(tempo_bpm, 15)
    grid = grid_of(drum_track(pattern, beats, 15))
    assert grid.tempo_bpm == pytest.approx(tempo_bpm, rel=TEMPO_TOLERANCE)
    tolerance = BEAT_TOLERANCE_S if grid.is_steady else DRIFTING_BEAT_TOLERANCE_S
    assert_same_beats(grid.beats_s, beats, tolerance)
    assert grid.certainty > 0.5
    assert grid.metre == 4


@pytest.mark.parametrize("tempo_bpm", [60.0, 93.0, 128.0, 180.0])
@pytest.mark.parametrize("kind", ["clicks", "swing", "waltz"])
def test_metronome_swing_and_waltz(kind: str, tempo_bpm: float) -> None:
    beats = steady_beats(tempo_bpm, 15, 0.21)
    waveform = {
        "clicks": lambda: clicks(beats, 15),
        "swing": lambda: drum_track(ROCK, beats, 15, swing=0.66),
        "waltz": lambda: drum_track(WALTZ, beats, 15),
    }[kind]()
    grid = grid_of(waveform)
    assert grid.tempo_bpm == pytest.approx(tempo_bpm, rel=TEMPO_TOLERANCE)
    assert_same_beats(grid.beats_s, beats, BEAT_TOLERANCE_S)
    assert grid.metre == (3 if kind == "waltz" else 4)


@pytest.mark.parametrize("tempo_bpm", [60.0, 165.0, 180.0])
@pytest.mark.parametrize("pattern", [ROCK, BREAK], ids=["rock", "break"])
def test_a_known_tempo_settles_which_pulse_is_the_beat(
    pattern: dict[str, str], tempo_bpm: float
) -> None:
    beats = steady_beats(tempo_bpm, 15, 0.1)
    grid = grid_of(drum_track(pattern, beats, 15), tempo_bpm=1.02 * tempo_bpm)
    assert grid.tempo_bpm == pytest.approx(tempo_bpm, rel=TEMPO_TOLERANCE)
    assert_same_beats(grid.beats_s, beats, BEAT_TOLERANCE_S)


HALF_TIME = {"kick": "X.....x...x.....", "snare": "........X.......", "closed_hat": "x.o." * 4}
"""Sounds as if it were half as fast."""


@pytest.mark.parametrize(
    ("pattern", "tempo_bpm"), [(ROCK, 60.0), (HALF_TIME, 75.0), (HALF_TIME, 150.0), (BREAK, 180.0)]
)
def test_if_the_tempo_is_half_or_twice_the_true_one_that_is_named(
    pattern: dict[str, str], tempo_bpm: float
) -> None:
    waveform = drum_track(pattern, steady_beats(tempo_bpm, 15, 0.1), 15)
    grid = grid_of(waveform)
    assert grid.other_tempo_bpm is not None
    assert grid.other_tempo_bpm / grid.tempo_bpm in (0.5, 2.0)
    nearest = min(grid.tempo_bpm, grid.other_tempo_bpm, key=lambda each: abs(each - tempo_bpm))
    assert nearest == pytest.approx(tempo_bpm, rel=SHORT_TEMPO_TOLERANCE)
    told = grid_of(waveform, tempo_bpm=round(nearest))
    assert told.tempo_bpm == pytest.approx(tempo_bpm, rel=TEMPO_TOLERANCE)
    assert told.other_tempo_bpm is None


@pytest.mark.parametrize("rate", [44_100, 48_000])
@pytest.mark.parametrize("repeats", [3, 12])
@pytest.mark.parametrize("style", ["og_beat", "agile", "motorway", "vibes"])
def test_loops_of_the_project(style: str, repeats: int, rate: int) -> None:
    arrangement = ARRANGEMENTS[style]
    loop_grid = LoopGrid.fit(arrangement.beats, arrangement.tempo_bpm, SpectrogramParams())
    loop = render_loop(arrangement, loop_grid, Key.parse(arrangement.key))
    grid = grid_of(resample(np.tile(loop, (1, repeats)), RATE, rate), rate)
    beats = np.arange(repeats * arrangement.beats) * 60 / loop_grid.tempo_bpm
    assert grid.tempo_bpm == pytest.approx(arrangement.tempo_bpm, rel=TEMPO_TOLERANCE)
    assert_same_beats(grid.beats_s, beats, BEAT_TOLERANCE_S)
    assert distances_s(grid.downbeats_s, beats[::4]).max() < BEAT_TOLERANCE_S


@pytest.mark.parametrize("rate", [8000, 22_050, 48_000, 96_000])
def test_other_sample_rates(rate: int) -> None:
    beats = steady_beats(93, 15, 0.3)
    grid = grid_of(drum_track(ROCK, beats, 15, sample_rate=rate), rate)
    assert grid.tempo_bpm == pytest.approx(93, rel=TEMPO_TOLERANCE)
    assert_same_beats(grid.beats_s, beats, BEAT_TOLERANCE_S)


@pytest.mark.parametrize(("from_bpm", "to_bpm"), [(100, 108), (120, 112), (90, 92)])
def test_the_tempo_may_drift(from_bpm: float, to_bpm: float) -> None:
    beats = drifting_beats(from_bpm, to_bpm, 40, 0.37)
    grid = grid_of(drum_track(BREAK, beats, 40))
    assert not grid.is_steady
    mean_bpm = 60 * (beats.size - 1) / (beats[-1] - beats[0])
    assert grid.tempo_bpm == pytest.approx(mean_bpm, rel=SHORT_TEMPO_TOLERANCE)
    assert_same_beats(grid.beats_s, beats, DRIFTING_BEAT_TOLERANCE_S)


def test_a_drummer_who_is_not_exact() -> None:
    beats = steady_beats(104, 40, 0.2)
    uneven = beats + np.random.default_rng(5).normal(0, 0.008, beats.size)
    grid = grid_of(drum_track(ROCK, uneven, 40))
    assert grid.tempo_bpm == pytest.approx(104, rel=TEMPO_TOLERANCE)
    assert distances_s(grid.beats_s, beats).max() < DRIFTING_BEAT_TOLERANCE_S


@pytest.mark.parametrize(("tempo_bpm", "start_s"), [(100.0, 1.3), (84.0, 0.0), (126.0, 1.3)])
@pytest.mark.parametrize("metre", [3, 4])
def test_bars_begin_where_the_chords_change(tempo_bpm: float, start_s: float, metre: int) -> None:
    beats = steady_beats(tempo_bpm, 30, start_s)
    harmony = chords(Key.parse("A minor"), (0, 5, 3, 4), beats, 30, beats_per_chord=metre)
    drums = drum_track(ROCK if metre == 4 else WALTZ, beats, 30)
    # Two beats of upbeat, without which the first beat is simply the first of a bar.
    upbeat = beats[0] - np.arange(2, 0, -1) * 60 / tempo_bpm
    music = harmony + 0.5 * drums
    if upbeat[-1] >= 0:
        music += 0.3 * clicks(upbeat[upbeat >= 0], 30)
    grid = grid_of(music)
    assert grid.metre == metre
    assert distances_s(grid.downbeats_s, beats[::metre]).max() < BEAT_TOLERANCE_S
    assert grid.bar_certainty > 0.9


def test_bars_of_equal_beats_are_uncertain() -> None:
    assert grid_of(clicks(steady_beats(110, 20), 20)).bar_certainty < 0.6


def test_blocks_of_a_long_recording_are_read_one_at_a_time() -> None:
    beats = steady_beats(97, 120, 0.4)
    recording = RecordingInMemory(drum_track(BREAK, beats, 120), RATE)
    heard = listen(recording)
    assert recording.most_read <= 2**18
    kept = heard.bands.nbytes + heard.attacks.nbytes + heard.chroma.classes.nbytes * 2
    assert kept < 25_000 * 120
    assert_same_beats(find_beat_grid(heard).beats_s, beats, BEAT_TOLERANCE_S)


@pytest.mark.parametrize(
    ("pattern", "tempo_bpm"), [(ROCK, 93.0), (BREAK, 110.0), (FOUR_ON_THE_FLOOR, 128.0)]
)
def test_librosa_hears_the_same_beats(pattern: dict[str, str], tempo_bpm: float) -> None:
    beats = steady_beats(tempo_bpm, 30, 0.25)
    waveform = drum_track(pattern, beats, 30)
    grid = grid_of(waveform)
    tempo, theirs = load_librosa_beat().beat_track(
        y=waveform[0], sr=RATE, units="time", start_bpm=tempo_bpm, hop_length=256
    )
    assert float(np.squeeze(tempo)) == pytest.approx(grid.tempo_bpm, rel=0.03)  # its resolution
    # Its first and last beats follow from its rounded tempo alone.
    assert np.mean(distances_s(grid.beats_s, theirs) < LIBROSA_TOLERANCE_S) > 0.85


def noise(duration_s: float) -> Waveform:
    rng = np.random.default_rng(5)
    return (0.2 * rng.standard_normal((2, round(duration_s * RATE)))).astype(np.float32)


def sine(duration_s: float) -> Waveform:
    return (0.3 * np.sin(0.06 * np.arange(round(duration_s * RATE))))[None].astype(np.float32)


def click_at(times: list[float]) -> Waveform:
    waveform = np.zeros((1, 12 * RATE), np.float32)
    waveform[0, [round(time * RATE) for time in times]] = 1
    return waveform


@pytest.mark.parametrize(
    ("waveform", "why"),
    [
        (np.zeros((1, 0), np.float32), "too short"),
        (np.zeros((2, 2205), np.float32), "of 0.05 s is too short"),
        (np.zeros((2, 12 * RATE), np.float32), "silent"),
        (sine(12), "no onsets"),
        (noise(12), "no beat was found"),
        (click_at([3.0]), "no beat was found"),
        (click_at([3.0, 3.7]), "no beat was found"),
    ],
    ids=["empty", "50 ms", "silence", "tone", "noise", "one click", "two clicks"],
)
def test_without_a_beat_there_is_no_tempo(waveform: Waveform, why: str) -> None:
    with pytest.raises(InputError, match=rf"{why}.*name its tempo") as caught:
        grid_of(waveform)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("duration_s", [1.5, 2.0, 3.0])
@pytest.mark.parametrize("kind", ["noise", "one chord", "two clicks"])
def test_what_is_hardly_long_enough_is_refused_or_has_beats_within(
    kind: str, duration_s: float
) -> None:
    num_samples = round(duration_s * RATE)
    waveform = {
        "noise": noise(duration_s),
        "one chord": chords(Key(0, "major"), (0,), np.array([0.0, 0.5]), duration_s),
        "two clicks": click_at([0.5, 1.2])[:, :num_samples],
    }[kind]
    try:
        grid = grid_of(waveform)
    except InputError:
        return
    assert 30 / 2 < grid.tempo_bpm < 2 * 300
    assert grid.beats_s[0] >= 0
    assert grid.beats_s[-1] <= duration_s


def test_irregular_onsets_are_uncertain() -> None:
    times = np.cumsum(np.random.default_rng(5).exponential(0.4, 30))
    try:
        certainty = grid_of(clicks(times[times < 11.9], 12)).certainty
    except InputError:
        certainty = 0.0
    assert certainty < 0.2


@pytest.mark.parametrize("tempo_bpm", [0.0, 29.0, 301.0, float("nan"), -93.0])
def test_a_tempo_out_of_range_is_refused(tempo_bpm: float) -> None:
    with pytest.raises(InputError, match="from 30 to 300 beats per minute"):
        grid_of(clicks(steady_beats(93, 5), 5), tempo_bpm=tempo_bpm)
