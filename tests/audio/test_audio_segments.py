import math
import runpy
import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from riffusion.audio import (
    AudioSegment,
    convert,
    decode_audio,
    encode_audio,
    num_samples,
    resample,
    segment_from_waveform,
    segments,
    waveform_from_segment,
    with_channels,
)
from riffusion.errors import InputError
from tests.audio.audio_signals import chord, noise, sine, snr_db

RESAMPLING_SNR_DB = 90.0
"""A resampled tone in the pass band against the same tone generated at the new rate: 15 bits."""
STOP_BAND_DB = -90.0
"""Level of a tone above half of the new rate after resampling, relative to itself."""

int16_arrays = st.tuples(st.integers(1, 4), st.integers(0, 50)).flatmap(
    lambda shape: arrays(np.int16, shape)
)


@given(samples=int16_arrays, rate=st.integers(1000, 384_000))
def test_int16_round_trip_is_exact(samples, rate):
    segment = AudioSegment(
        samples.T.tobytes(), sample_width=2, frame_rate=rate, channels=samples.shape[0]
    )
    waveform = waveform_from_segment(segment)
    assert waveform.dtype == np.float32
    assert waveform.shape == samples.shape
    assert np.abs(waveform).max(initial=0) <= 1
    assert segment_from_waveform(waveform, rate) == segment
    assert num_samples(segment) == samples.shape[1]


@given(waveform=arrays(np.float32, (2, 20), elements=st.floats(-(2.0**100), 2.0**100, width=32)))
@settings(max_examples=50)
def test_clips_and_never_wraps(waveform):
    expected = np.clip(waveform, -1, 32767 / 32768)
    result = waveform_from_segment(segment_from_waveform(waveform, 44100))
    assert np.abs(result - expected).max() <= 0.5 / 32768


def test_rounds_to_the_nearest():
    values = np.array([[0.4, 0.6, -0.4, -0.6, 1.2]], dtype=np.float32) / 32768
    segment = segment_from_waveform(values, 44100)
    assert list(segment.get_array_of_samples()) == [0, 1, 0, -1, 1]


@pytest.mark.parametrize("sample_width", [1, 2, 3, 4])
def test_full_scale_of_every_sample_width(sample_width):
    bits = 8 * sample_width
    values = [2 ** (bits - 1) - 1, -(2 ** (bits - 1)), 2 ** (bits - 2), 0]
    data = b"".join(value.to_bytes(sample_width, "little", signed=True) for value in values)
    segment = AudioSegment(data, sample_width=sample_width, frame_rate=8000, channels=1)
    # pydub stores 24 bits as the upper bytes of 32
    assert waveform_from_segment(segment)[0] == pytest.approx(
        [1 - 2.0 ** (1 - bits), -1, 0.5, 0], abs=2.0**-23
    )


def test_tensor_equals_array_and_channels_interleave():
    waveform = noise(10, channels=3)
    segment = segment_from_waveform(torch.from_numpy(waveform).requires_grad_(), 44100)
    assert segment == segment_from_waveform(waveform, 44100)
    assert segment.channels == 3
    assert list(segment.get_array_of_samples()[:3]) == list(np.rint(waveform[:, 0] * 32768))
    halves = torch.tensor([[0.5, -0.25]], dtype=torch.bfloat16)
    assert list(segment_from_waveform(halves, 44100).get_array_of_samples()) == [16384, -8192]


@pytest.mark.parametrize(
    ("waveform", "rate", "message"),
    [
        (np.array([[0.0, math.nan]]), 44100, "NaN"),
        (np.array([[math.inf]]), 44100, "infinite"),
        (np.array([[1e300]]), 44100, "infinite"),
        (np.zeros(5), 44100, r"waveform\[None\]"),
        (np.zeros((1, 2, 3)), 44100, "channels, samples"),
        (np.zeros((0, 3)), 44100, "at least one channel"),
        (np.zeros((1, 3), dtype=np.int16), 44100, "float"),
        (torch.zeros((1, 3), dtype=torch.int32), 44100, "float"),
        (np.zeros((1, 3)), 0, "sample_rate=0"),
        (np.zeros((1, 3)), 44100.5, "whole number"),
        (np.zeros((1, 3)), math.nan, "whole number"),
        (np.zeros((1, 3)), 10**9, "sample_rate"),
    ],
)
def test_bad_waveforms_are_named(waveform, rate, message):
    with pytest.raises(InputError, match=message):
        segment_from_waveform(waveform, rate)


def test_bad_sample_width():
    with pytest.raises(InputError, match="sample_width=3"):
        segment_from_waveform(np.zeros((1, 1)), 44100, sample_width=3)


@given(
    length=st.integers(1, 3000),
    from_hz=st.sampled_from([8000, 22050, 24500, 44100, 48000, 96000]),
    to_hz=st.sampled_from([8000, 22050, 24500, 44100, 48000, 96000]),
)
@settings(max_examples=60, deadline=None)
def test_resampled_length_is_exact(length, from_hz, to_hz):
    result = resample(np.zeros((1, length), dtype=np.float32), from_hz, to_hz)
    assert result.shape == (1, max(1, round(length * to_hz / from_hz)))


@pytest.mark.parametrize(
    ("from_hz", "to_hz"),
    [
        (44100, 48000),
        (48000, 44100),
        (44100, 22050),
        (24500, 44100),
        (44100, 96000),
        (44101, 48000),
        (48000, 44101),
    ],
)
def test_resampled_tone_is_the_tone_at_the_new_rate(from_hz, to_hz):
    result = resample(sine(997, 0.5, 0.5, from_hz), from_hz, to_hz)
    expected = sine(997, 0.5, 0.5, to_hz)[:, : result.shape[1]]
    inner = slice(to_hz // 20, -to_hz // 20)  # away from the ends, beyond which is silence
    assert snr_db(expected[:, inner], result[:, inner]) > RESAMPLING_SNR_DB


def test_resampling_removes_what_would_alias():
    tone = sine(15000, 0.5, 0.5, 44100)
    result = resample(tone, 44100, 22050)[:, 2000:-2000]
    assert 20 * np.log10(result.std() / tone.std()) < STOP_BAND_DB


def test_resampling_an_empty_waveform_and_bad_rates():
    assert resample(np.zeros((2, 0), dtype=np.float32), 44100, 48000).shape == (2, 0)
    with pytest.raises(InputError, match="to_hz=-1"):
        resample(np.zeros((1, 5)), 44100, -1)


def test_mono_and_stereo():
    stereo = noise(100, channels=2)
    assert with_channels(stereo, 1) == pytest.approx(stereo.mean(axis=0, keepdims=True))
    mono = with_channels(stereo, 1)
    assert np.array_equal(with_channels(mono, 2), np.concatenate([mono, mono]))
    assert np.array_equal(with_channels(stereo, 2), stereo)
    with pytest.raises(InputError, match="num_channels=3"):
        with_channels(stereo, 3)


@pytest.mark.parametrize("channels", range(3, 11))
def test_more_channels_to_stereo_keep_the_level_and_the_sides(channels):
    same = np.full((channels, 4), 0.7, dtype=np.float32)
    assert with_channels(same, 2) == pytest.approx(np.full((2, 4), 0.7))
    if channels <= 8:
        left = np.zeros((channels, 4), dtype=np.float32)
        left[0] = 1
        result = with_channels(left, 2)
        assert result[0].min() > 0.2
        assert not result[1].any()


def test_convert_changes_rate_and_channels():
    segment = segment_from_waveform(chord(44100, 44100, 2), 44100)
    assert convert(segment) is segment
    assert convert(segment, sample_rate=44100, channels=2) is segment
    result = convert(segment, sample_rate=48000, channels=1)
    assert (result.frame_rate, result.channels, num_samples(result)) == (48000, 1, 48000)


def test_import_is_silent_and_nothing_starts_a_program(monkeypatch):
    def forbidden(*args, **kwargs):
        pytest.fail(f"started a program: {args}")

    monkeypatch.setattr(subprocess, "Popen", forbidden)
    monkeypatch.setenv("PATH", "/nonexistent")  # no ffmpeg
    for name in [name for name in sys.modules if name.partition(".")[0] == "pydub"]:
        monkeypatch.delitem(sys.modules, name)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        module = runpy.run_path(segments.__file__)
    assert module["AudioSegment"] is not AudioSegment  # pydub was imported again
    decode_audio(encode_audio(segment_from_waveform(noise(5000), 44100), "mp3"))
