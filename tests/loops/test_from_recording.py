"""Tempo estimation, and seed images of recordings."""

import numpy as np
import pytest

from riffusion.errors import InputError
from riffusion.loops.arrangements import ARRANGEMENTS
from riffusion.loops.from_recording import cut_loop, seed_image_from_audio, stretch
from riffusion.loops.grid import LoopGrid
from riffusion.loops.harmony import Key
from riffusion.loops.onsets import onset_strength
from riffusion.loops.rendering import render_loop
from riffusion.loops.seed_images import loop_image
from riffusion.loops.tempo import estimate_tempo
from riffusion.spectrogram.params import SpectrogramParams

PARAMS = SpectrogramParams()
TEMPO_TOLERANCE = 0.005
"""Relative: a quarter of a 10 ms frame at the second beat."""
CLICK_TEMPO_TOLERANCE = 0.002
PIXEL_TOLERANCE = 0.5
"""Mean difference in grey levels between a loop's image and that of the loop cut from a song."""


def clicks(tempo_bpm, duration_s, sample_rate=44100):
    rng = np.random.default_rng(7)
    waveform = np.zeros((1, round(duration_s * sample_rate)), dtype=np.float32)
    for start in np.arange(0, duration_s - 0.05, 60 / tempo_bpm):
        first = round(start * sample_rate)
        burst = rng.standard_normal(2000) * np.exp(-np.arange(2000) / 300)
        waveform[0, first : first + 2000] += 0.2 * burst.astype(np.float32)
    return waveform


@pytest.fixture(scope="module")
def groove():
    arrangement = ARRANGEMENTS["og_beat"]
    grid = LoopGrid.fit(arrangement.beats, arrangement.tempo_bpm, PARAMS)
    return render_loop(arrangement, grid, Key.parse(arrangement.key))


@pytest.mark.parametrize("style", sorted(ARRANGEMENTS))
def test_tempo_of_known_loops(style):
    arrangement = ARRANGEMENTS[style]
    grid = LoopGrid.fit(arrangement.beats, arrangement.tempo_bpm, PARAMS)
    waveform = render_loop(arrangement, grid, Key.parse(arrangement.key))
    estimate = estimate_tempo(waveform, 44100)
    assert estimate == pytest.approx(arrangement.tempo_bpm, rel=TEMPO_TOLERANCE)


@pytest.mark.parametrize("sample_rate", [22050, 48000])
@pytest.mark.parametrize("tempo_bpm", [75.0, 100.0, 120.0, 135.0])
def test_tempo_of_a_metronome(tempo_bpm, sample_rate):
    estimate = estimate_tempo(clicks(tempo_bpm, 6, sample_rate), sample_rate)
    assert estimate == pytest.approx(tempo_bpm, rel=CLICK_TEMPO_TOLERANCE)


def test_onset_strength_peaks_at_the_clicks():
    strength = onset_strength(clicks(60, 4), 44100)
    assert strength.min() >= 0
    for second in (1, 2, 3):  # a window of 46 ms contains a click up to 23 ms early
        frame = 100 * second
        assert strength[frame - 3 : frame + 2].max() > 10 * strength[frame + 20 : frame + 80].max()


@pytest.mark.parametrize(
    ("waveform", "remedy"),
    [
        (np.zeros((1, 44100 * 4), np.float32), "without onsets"),
        (np.zeros((1, 44100), np.float32), "too short"),
        (np.zeros((1, 0), np.float32), "too short"),
    ],
)
def test_audio_without_onsets_or_too_short_has_no_tempo(waveform, remedy):
    with pytest.raises(InputError, match=rf"{remedy}.*pass tempo_bpm"):
        estimate_tempo(waveform, 44100)


def test_a_repeated_loop_gives_the_loops_image(groove):
    song = np.tile(groove, (1, 3))
    image = seed_image_from_audio(song, 44100)
    assert image.size == (512, 512)
    assert SpectrogramParams.from_exif(image.copy().getexif()) == PARAMS
    original = np.asarray(loop_image(groove, PARAMS)).astype(float)
    assert np.abs(np.asarray(image) - original).mean() < PIXEL_TOLERANCE


def test_width_follows_from_beats_and_tempo(groove):
    song = np.tile(groove, (1, 2))
    image = seed_image_from_audio(song, 44100, beats=4, tempo_bpm=93.75)
    assert image.size == (256, 512)
    stretched = seed_image_from_audio(song, 44100, beats=4, tempo_bpm=93.75, num_frames=512)
    assert stretched.size == (512, 512)
    # every second frame of the stretched image is a frame of the other one
    np.testing.assert_allclose(
        np.asarray(stretched)[:, ::2].astype(int), np.asarray(image).astype(int), atol=1
    )


def test_stereo_and_other_rates(groove):
    stereo = np.concatenate([groove, 0 * groove])[:, ::2]  # 22.05 kHz, right channel silent
    params = SpectrogramParams(stereo=True)
    image = seed_image_from_audio(stereo, 22050, beats=8, tempo_bpm=93.75, params=params)
    pixels = np.asarray(image)
    assert pixels.shape == (512, 512, 3)
    assert pixels[..., 1].min() == 0
    assert (pixels[..., 2] == 255).all()


def test_the_cut_is_crossfaded():
    """A ramp that is only cut has a large step at the seam; the crossfade removes it."""
    ramp = np.linspace(-1, 1, 44100, dtype=np.float32)[np.newaxis]
    loop = cut_loop(ramp, 30_000, 44100)
    assert loop.shape == (1, 30_000)
    steps = np.abs(np.diff(loop[0], append=loop[0, 0]))
    assert steps[-1] < 1e-4  # without the crossfade: 1.36
    assert steps.max() < 2 / 1323 * 1.36  # half a cosine over 30 ms is π/2 steeper than a line
    np.testing.assert_array_equal(loop[:, 1323:], ramp[:, 1323:30_000])


def test_both_ends_fade_if_the_recording_ends_at_the_cut():
    loop = cut_loop(np.ones((2, 1000), np.float32), 1000, 44100)
    assert loop[0, 0] == 0
    assert loop[0, -1] == 0
    assert (loop[:, 100:-100] == 1).all()


def test_stretching_interpolates_around_the_loop():
    amplitudes = np.random.default_rng(0).random((1, 4, 9), dtype=np.float32)
    np.testing.assert_array_equal(stretch(amplitudes, 9), amplitudes)
    ring = np.arange(4, dtype=np.float32)[np.newaxis, np.newaxis]
    np.testing.assert_allclose(stretch(ring, 8)[0, 0], [0, 0.5, 1, 1.5, 2, 2.5, 3, 1.5])


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"beats": 0}, "beats"),
        ({"beats": 64}, "beats"),
        ({"beats": 256, "tempo_bpm": 30}, "beats"),
        ({"tempo_bpm": 10}, "tempo_bpm"),
        ({"tempo_bpm": float("inf")}, "tempo_bpm"),
        ({"num_frames": 0}, "num_frames"),
        ({"num_frames": 10**9}, "num_frames"),
    ],
)
def test_values_out_of_range_are_refused(groove, values, field):
    with pytest.raises(InputError) as caught:
        seed_image_from_audio(groove, 44100, **{"tempo_bpm": 93.75, **values})
    assert caught.value.field == field


def test_bad_samples_are_refused(groove):
    broken = groove.copy()
    broken[0, 5] = np.nan
    with pytest.raises(InputError, match="NaN"):
        seed_image_from_audio(broken, 44100, tempo_bpm=93.75)
    with pytest.raises(InputError):
        seed_image_from_audio(groove[0], 44100, tempo_bpm=93.75)
