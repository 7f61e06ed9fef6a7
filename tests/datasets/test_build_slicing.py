"""Slicing of recordings: invariants, click tracks, and contradictory formats."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from riffusion.datasets.from_audio.beat_tracking import track_beats
from riffusion.datasets.from_audio.formats import PRESETS, ImageFormat, image_format
from riffusion.datasets.from_audio.options import SliceOptions
from riffusion.datasets.from_audio.slicing import (
    beat_slices,
    clipped_share,
    cut,
    even_slices,
    level_db,
)
from riffusion.errors import InputError
from riffusion.spectrogram.params import SpectrogramParams
from tests.datasets.click_tracks import RATE, clicks

MAX_BEAT_ERROR_S = 0.025  # onset strength has a value every 10 ms, from windows of 46 ms
MAX_TEMPO_ERROR = 0.02  # relative: two cuts 10 ms off in 2 s of four beats
MAX_LEVEL_ERROR_DB = 0.01  # float32 sums
MEDIUM = ImageFormat(SpectrogramParams(sample_rate=RATE), 200)


@given(
    num_samples=st.integers(0, 5000),
    width=st.integers(1, 20),
    overlap=st.sampled_from([0.0, 0.25, 0.5, 0.95]),
    keep_rest=st.booleans(),
)
def test_even_slices_cover_the_recording_except_for_less_than_one_slice(
    num_samples: int, width: int, overlap: float, keep_rest: bool
) -> None:
    image = ImageFormat(SpectrogramParams(sample_rate=8000), width)
    slices = even_slices(num_samples, image, overlap, keep_rest)
    starts = np.array([part.start for part in slices])
    length, hop = image.num_samples, image.params.hop_length
    assert all(part.num_frames == width and part.tempo_bpm is None for part in slices)
    step = max(1, round(width * (1 - overlap))) * hop
    assert (np.diff(starts) == step).all()
    if keep_rest:
        covered = starts[-1] + length if slices else 0
        assert num_samples - covered < hop
        assert all(starts < num_samples)
    else:
        assert all(starts + length <= num_samples)
        following = starts[-1] + step if slices else 0
        assert following + length > num_samples


@pytest.mark.parametrize(("tempo_bpm", "offset_s"), [(100, 0.37), (128, 0.1), (93.75, 1.3)])
def test_beats_of_a_click_track(tempo_bpm: float, offset_s: float) -> None:
    wave, times = clicks(tempo_bpm, offset_s, 12)
    beats = track_beats(wave, RATE)
    inner = beats[(beats > times[0] - 0.1) & (beats < times[-1] + 0.1)]
    nearest = np.abs(inner[:, None] - times[None]).min(axis=1)
    assert nearest.max() <= MAX_BEAT_ERROR_S
    assert len(inner) == len(times)


def test_beat_slices_begin_on_beats_and_have_the_tempo() -> None:
    wave, times = clicks(120, 0.3, 20)
    slices = beat_slices(wave, MEDIUM, beats=4, overlap=0.0)
    assert len(slices) == (len(times) - 1) // 4
    for part in slices:
        assert np.abs(times - part.start / RATE).min() <= MAX_BEAT_ERROR_S
        assert part.num_frames * 220 / RATE == pytest.approx(2.0, rel=MAX_TEMPO_ERROR)
        assert part.tempo_bpm == pytest.approx(120, rel=MAX_TEMPO_ERROR)
    starts = np.array([part.start for part in slices]) / RATE
    assert np.diff(starts) == pytest.approx(2.0, rel=MAX_TEMPO_ERROR)
    assert len(beat_slices(wave, MEDIUM, beats=4, overlap=0.5)) == (len(times) - 1) // 2 - 1


def test_beat_slices_follow_a_change_of_tempo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("riffusion.datasets.from_audio.slicing._BEAT_WINDOW_S", 8.0)
    slow, _ = clicks(80, 0.0, 12)
    fast, _ = clicks(140, 0.0, 12)
    slices = beat_slices(np.concatenate([slow, fast], axis=1), MEDIUM, beats=4, overlap=0.0)
    seconds = np.array([(part.start / RATE, 240 / (part.tempo_bpm or 1)) for part in slices])
    for tempo_bpm, inside in (
        (80, seconds.sum(axis=1) < 11),
        (140, seconds[:, 0] > 13),
    ):
        tempi = 240 / seconds[inside, 1]
        assert len(tempi) >= 2
        octaves = np.log2(tempi / tempo_bpm)  # double or half the tempo is correct, too
        assert octaves == pytest.approx(np.rint(octaves), abs=MAX_TEMPO_ERROR)
    starts = [part.start for part in slices]
    assert starts == sorted(set(starts))


def test_music_after_a_long_silence_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("riffusion.datasets.from_audio.slicing._BEAT_WINDOW_S", 4.0)
    wave, _ = clicks(120, 0.0, 8)
    silence = np.zeros((1, 5 * RATE), np.float32)
    slices = beat_slices(np.concatenate([silence, wave], axis=1), MEDIUM, beats=2, overlap=0.0)
    assert slices
    assert slices[0].start >= 4 * RATE


@pytest.mark.parametrize("duration_s", [1.0, 10.0])
def test_no_beats_is_an_input_error(duration_s: float) -> None:
    with pytest.raises(InputError, match=r"tempo"):
        beat_slices(np.zeros((1, round(duration_s * RATE)), np.float32), MEDIUM, 4, 0.0)


def test_a_cut_beyond_the_end_is_padded_with_silence() -> None:
    wave = np.arange(1, 6, dtype=np.float32)[None]
    assert cut(wave, 3, 4).tolist() == [[4, 5, 0, 0]]
    assert cut(wave, 1, 2).tolist() == [[2, 3]]


def test_levels() -> None:
    t = np.arange(8000) / 8000
    sine = np.sin(2 * np.pi * 100 * t).astype(np.float32)[None]
    assert level_db(sine) == pytest.approx(-3.01, abs=MAX_LEVEL_ERROR_DB)
    assert level_db(sine / 10) == pytest.approx(-23.01, abs=MAX_LEVEL_ERROR_DB)
    assert level_db(np.zeros((1, 5), np.float32)) == -np.inf


@pytest.mark.parametrize("dtype", [np.int16, np.int32])
def test_clipped_samples_stay_at_full_scale(dtype: type) -> None:
    top = np.iinfo(dtype).max
    wave = np.zeros((2, 100), dtype)
    wave[0, 10] = wave[0, 20] = top  # peaks
    assert clipped_share(wave) == 0
    wave[0, 30:35] = top
    wave[0, 40:45] = np.iinfo(dtype).min
    wave[1, 50:52] = top
    assert clipped_share(wave) == 0.10
    assert clipped_share(wave[:, :1]) == 0


@pytest.mark.parametrize(
    ("arguments", "width", "duration_s"),
    [
        ({}, 512, 5.12),
        ({"duration_s": 10.24}, 1024, 10.24),
        ({"duration_s": 2.5, "width": 250}, 250, 2.5),
        ({"width": 100, "sample_rate": 22050}, 100, 100 * 220 / 22050),
        ({"preset": "audio-diffusion"}, 256, 256 * 507 / 22050),
        ({"preset": "audio-diffusion", "duration_s": 4.048, "sample_rate": 22000}, 176, 4.048),
    ],
)
def test_formats(arguments: dict[str, object], width: int, duration_s: float) -> None:
    image = image_format(**arguments)  # type: ignore[arg-type]
    assert image.duration_s == pytest.approx(duration_s)
    assert image.width == width


def test_the_highest_frequency_follows_the_rate_unless_it_is_given() -> None:
    assert image_format(sample_rate=16000).params.max_frequency == 8000
    assert image_format(sample_rate=16000, max_frequency=9000).params.max_frequency == 9000
    assert image_format().params == PRESETS["riffusion"].params


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"duration_s": 5.12, "width": 500}, "duration_s: .* 512 frames .* not width=500"),
        ({"duration_s": 5.123}, "duration_s: .* use 5.12 or 5.13"),
        ({"duration_s": 0}, "duration_s: 0 must be over 0"),
        ({"duration_s": 5.12, "beats": 8}, "duration_s: .* beats=8; leave one of them out"),
        ({"duration_s": float("nan")}, "duration_s: nan must be over 0"),
        ({"duration_s": 1000}, "duration_s: 100000 frames must be from 1 to 6000"),
        ({"width": 0}, "width: 0 frames"),
        ({"preset": "large"}, "preset: 'large' is unknown; use riffusion or audio-diffusion"),
        ({"num_frequencies": 0}, "num_frequencies=0"),
        ({"min_frequency": 9000, "sample_rate": 16000}, "min_frequency=9000"),
    ],
)
def test_contradictory_formats_are_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        image_format(**arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "value"),
    [("overlap", 1.0), ("overlap", -0.1), ("silence_db", 3), ("max_clipping", 2), ("beats", 0)],
)
def test_options_out_of_range_are_refused(name: str, value: float) -> None:
    with pytest.raises(InputError, match=f"{name}: {value} must be from"):
        SliceOptions(MEDIUM, **{name: value})  # type: ignore[arg-type]


def test_a_remainder_with_beats_is_refused() -> None:
    with pytest.raises(InputError, match="keep_rest"):
        SliceOptions(MEDIUM, beats=4, keep_rest=True)
