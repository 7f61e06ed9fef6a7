"""Arrangements and their rendering: length, beat, seam, loudness, determinism."""

import itertools

import numpy as np
import pyloudnorm
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from riffusion.audio import (
    TARGET_LUFS,
    TRUE_PEAK_DBTP,
    true_peak_db,
)
from riffusion.errors import InputError
from riffusion.loops.arrangements import ARRANGEMENTS, DrumTrack, NoteTrack
from riffusion.loops.grid import LoopGrid
from riffusion.loops.harmony import Key
from riffusion.loops.oscillators import SAMPLE_RATE, sawtooth, times_s
from riffusion.loops.rendering import add_circularly, find_arrangement, render_loop
from riffusion.loops.seed_images import loop_image
from riffusion.spectrogram.converter import SpectrogramConverter
from riffusion.spectrogram.params import SpectrogramParams

PARAMS = SpectrogramParams()
CONVERTER = SpectrogramConverter(PARAMS, "cpu")
STYLES = sorted(ARRANGEMENTS)
CLIP_SAMPLES = 225_792
"""5.12 s at 44.1 kHz."""

LOUDNESS_TOLERANCE_LU = 0.3
"""The loop played three times also has gating blocks across its seam, unlike the single one."""
SEAM_PERCENTILE = 97
"""A bar starts at the seam, so the change there may be as large as at other bar lines, which are
about 3 % of the frames. The seam of a loop that is merely cut is a click at all frequencies."""
MIN_BEAT_CORRELATION = 0.6
"""Correlation of onsets one beat apart; a steady drum machine has 1, unrelated onsets have 0."""
SHIFT_TOLERANCE = 1e-6
"""Share of the maximum: rounding of float32 FFTs."""


@pytest.fixture(scope="module")
def loops():
    def render(style):
        arrangement = ARRANGEMENTS[style]
        grid = LoopGrid.fit(arrangement.beats, arrangement.tempo_bpm, PARAMS)
        return render_loop(arrangement, grid, Key.parse(arrangement.key))

    return {style: render(style) for style in STYLES}


def darkness(image):
    return 255.0 - np.asarray(image)[:, :, 0]


@pytest.mark.parametrize("style", STYLES)
def test_loop_has_a_clips_length_and_the_common_loudness(loops, style):
    waveform = loops[style]
    assert waveform.shape == (1, CLIP_SAMPLES)
    assert waveform.dtype == np.float32
    assert true_peak_db(waveform, circular=True) < TRUE_PEAK_DBTP
    meter = pyloudnorm.Meter(SAMPLE_RATE)
    loudness = meter.integrated_loudness(np.tile(waveform[0].astype(float), 3))
    assert loudness == pytest.approx(TARGET_LUFS, abs=LOUDNESS_TOLERANCE_LU)


@pytest.mark.parametrize("style", STYLES)
def test_onsets_repeat_at_the_beat(loops, style):
    image = darkness(loop_image(loops[style], PARAMS))
    onsets = np.clip(np.diff(image, axis=1, prepend=image[:, -1:]), 0, None).mean(axis=0)
    onsets -= onsets.mean()
    correlation = np.fft.irfft(np.abs(np.fft.rfft(onsets)) ** 2)
    correlation /= correlation[0]
    beat_frames = 512 / ARRANGEMENTS[style].beats
    frames = np.arange(512)
    at_beat = np.interp(beat_frames, frames, correlation)
    off_beat = np.interp(beat_frames * 0.9, frames, correlation)
    assert at_beat > MIN_BEAT_CORRELATION
    assert at_beat > off_beat + 0.3
    # The loop has a whole number of beats only if every beat has an onset at the right time.
    pulses = np.abs(np.fft.rfft(onsets))
    beats = ARRANGEMENTS[style].beats
    assert pulses[beats] > 3 * max(pulses[beats - 1], pulses[beats + 1])


@pytest.mark.parametrize("style", STYLES)
def test_image_has_no_seam(loops, style):
    image = darkness(loop_image(loops[style], PARAMS))
    change = np.abs(np.roll(image, -1, axis=1) - image).mean(axis=0)
    assert change[-1] <= np.percentile(change[:-1], SEAM_PERCENTILE)


def test_seam_measure_detects_a_cut():
    arrangement = ARRANGEMENTS["vibes"]
    grid = LoopGrid.fit(arrangement.beats, arrangement.tempo_bpm, PARAMS)
    waveform = render_loop(arrangement, grid, Key.parse(arrangement.key))
    cut = waveform[:, : 300 * PARAMS.hop_length]  # 4.7 beats
    image = darkness(loop_image(cut, PARAMS))
    change = np.abs(np.roll(image, -1, axis=1) - image).mean(axis=0)
    around_the_seam = change[[-3, -2, -1, 0, 1, 2]].max()
    assert around_the_seam > np.percentile(change[3:-3], SEAM_PERCENTILE)


@pytest.mark.parametrize("style", ["og_beat", "vibes"])
def test_circular_shift_of_the_loop_shifts_the_spectrogram(loops, style):
    amplitudes = CONVERTER.spectrogram_from_waveform(loops[style], circular=True)
    shifted_loop = np.roll(loops[style], 77 * PARAMS.hop_length, axis=-1)
    shifted = CONVERTER.spectrogram_from_waveform(shifted_loop, circular=True)
    difference = np.abs(np.roll(amplitudes, 77, axis=-1) - shifted).max()
    assert difference < SHIFT_TOLERANCE * amplitudes.max()


def test_short_loop_is_transformed_as_if_repeated():
    tone = np.sin(2 * np.pi * 1000 * np.arange(5 * 441) / 44100)[np.newaxis].astype(np.float32)
    amplitudes = CONVERTER.spectrogram_from_waveform(
        tone, circular=True
    )  # 50 ms; the FFT is 400 ms
    assert amplitudes.shape == (1, 512, 5)
    assert np.ptp(amplitudes[0].max(axis=0)) < SHIFT_TOLERANCE * amplitudes.max()


@given(
    loop_size=st.integers(1, 40),
    note=st.lists(st.floats(-1, 1), max_size=200),
    start=st.integers(0, 39),
)
def test_notes_wrap_around(loop_size, note, start):
    loop = np.zeros(loop_size)
    add_circularly(loop, np.array(note), start % loop_size)
    expected = np.zeros(loop_size)
    np.add.at(expected, (start % loop_size + np.arange(len(note))) % loop_size, note)
    np.testing.assert_allclose(loop, expected, atol=1e-12)


def test_samples_depend_on_the_seed_alone(loops):
    arrangement = ARRANGEMENTS["og_beat"]
    grid = LoopGrid.fit(arrangement.beats, arrangement.tempo_bpm, PARAMS)
    key = Key.parse(arrangement.key)
    assert np.array_equal(render_loop(arrangement, grid, key, 0), loops["og_beat"])
    assert not np.array_equal(render_loop(arrangement, grid, key, 1), loops["og_beat"])


@pytest.mark.parametrize("style", STYLES)
def test_patterns_and_chords_fill_the_loop_exactly(style):
    arrangement = ARRANGEMENTS[style]
    assert arrangement.beats * 60 / arrangement.tempo_bpm == 5.12
    chord_beats = sum(beats for _, beats in arrangement.chords)
    periods = [track.events()[1] for track in arrangement.tracks]
    for period in [chord_beats, *periods]:
        assert arrangement.beats % period == 0


def test_patterns_are_read_as_documented():
    track = NoteTrack(lambda f, d, r: times_s(0.01), "0! - . | 2/4 . -3 - -", octave=4)
    events, period = track.events()
    assert period == 2.0
    assert [(e.start_beats, e.duration_beats, e.degrees, e.level) for e in events] == [
        (0.0, 0.5, (0,), 1.0),
        (0.75, 0.25, (2, 4), 0.7),
        (1.25, 0.75, (-3,), 0.7),
    ]
    hits, period = DrumTrack(lambda f, d, r: times_s(0.01), "X.o|x", steps_per_beat=2).events()
    assert period == 2.0
    assert [(e.start_beats, e.level) for e in hits] == [(0.0, 1.0), (1.0, 0.35), (1.5, 0.7)]


def test_sawtooth_is_the_sum_of_its_harmonics():
    t = times_s(0.05)
    harmonics = sum(
        np.exp(-k * 220 / 1500) / k * np.sin(2 * np.pi * k * 220 * t) for k in range(1, 200)
    )
    np.testing.assert_allclose(sawtooth(220, t, 1500.0), harmonics, atol=1e-9)


@pytest.mark.parametrize(
    ("name", "degree", "octave", "expected_hz"),
    [
        ("A minor", 0, 5, 440.0),  # the tonic A below C5
        ("C", 5, 4, 440.0),
        ("Am", 2, 5, 523.2511),
        ("F# major", 7, 3, 369.9944),
        ("Bb minor", -7, 5, 233.0819),
    ],
)
def test_scale_degrees_have_known_pitches(name, degree, octave, expected_hz):
    assert Key.parse(name).frequency_hz(degree, octave) == pytest.approx(expected_hz, rel=1e-6)


def test_key_names_with_and_without_spaces_agree():
    for names in (["Am", "A minor", "a min", " A-minor "], ["F#", "F# major", "Gb", "g♭ maj"]):
        assert all(Key.parse(a) == Key.parse(b) for a, b in itertools.pairwise(names))
    assert Key.parse("CM") == Key.parse("C")


@pytest.mark.parametrize("name", ["", "H", "A dorian", "A##", "9", "A" * 10_000, None, 5])
def test_unknown_keys_are_refused(name):
    with pytest.raises(InputError, match="key: ") as caught:
        Key.parse(name)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"tempo_bpm": 0}, "tempo_bpm"),
        ({"tempo_bpm": float("nan")}, "tempo_bpm"),
        ({"tempo_bpm": 1e9}, "tempo_bpm"),
        ({"tempo_bpm": "fast"}, "tempo_bpm"),
        ({"beats": 0}, "beats"),
        ({"beats": 2.5}, "beats"),
        ({"beats": True}, "beats"),
        ({"beats": 10**5000}, "beats"),
        ({"beats": 200, "tempo_bpm": 60}, "beats"),
    ],
)
def test_grid_refuses_values_out_of_range(values, field):
    with pytest.raises(InputError) as caught:
        LoopGrid.fit(**{"beats": 8, "tempo_bpm": 93.75, "params": PARAMS, **values})
    assert caught.value.field == field
    assert len(str(caught.value)) < 250


@settings(max_examples=50)
@given(beats=st.integers(1, 32), tempo_bpm=st.floats(40, 300))
def test_grid_has_the_nearest_number_of_frames(beats, tempo_bpm):
    grid = LoopGrid.fit(beats, tempo_bpm, PARAMS)
    assert abs(grid.num_samples / 44100 - beats * 60 / tempo_bpm) <= 0.005 + 1e-9
    assert grid.tempo_bpm * grid.beat_s == pytest.approx(60)


@pytest.mark.parametrize("seed", [-1, 2**63, 1.5, True, "0"])
def test_seeds_out_of_range_are_refused(seed):
    arrangement = ARRANGEMENTS["og_beat"]
    with pytest.raises(InputError, match="seed: "):
        render_loop(arrangement, LoopGrid.fit(1, 120, PARAMS), Key.parse("A"), seed)


@pytest.mark.parametrize("style", ["nothing", "../og_beat", "x" * 10_000, None, ["og_beat"]])
def test_unknown_styles_are_refused(style):
    with pytest.raises(InputError, match=r"style: .*og_beat") as caught:
        find_arrangement(style)
    assert len(str(caught.value)) < 200
