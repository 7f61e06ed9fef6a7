import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from riffusion.audio import (
    crossfade,
    fade,
    loop,
    num_samples,
    overlay,
    segment_from_waveform,
    stitch,
    waveform_from_segment,
)
from riffusion.errors import InputError
from riffusion.util.audio_util import (
    apply_filters,
    audio_from_waveform,
    overlay_segments,
    stitch_segments,
)
from tests.audio.audio_signals import chord, drums, noise, sine

RATE = 44100
ROUNDING = 1.01 / 32768
"""One step of 16 bits: two roundings."""


def segment_of(waveform, rate=RATE, **options):
    return segment_from_waveform(waveform, rate, **options)


@given(
    lengths=st.lists(st.integers(200, 2000), min_size=1, max_size=6),
    overlap=st.integers(0, 200),
    channels=st.integers(1, 2),
)
@settings(max_examples=60, deadline=None)
def test_stitched_length_is_the_sum_less_the_overlaps(lengths, overlap, channels):
    segments = [segment_of(noise(length, channels)) for length in lengths]
    result = stitch(segments, overlap / RATE)
    assert num_samples(result) == sum(lengths) - overlap * (len(lengths) - 1)
    # outside of the overlaps nothing is touched
    if lengths[0] > overlap:
        inner = lengths[0] - overlap
        assert (
            result.raw_data[: 2 * channels * inner]
            == (segments[0].raw_data[: 2 * channels * inner])
        )


def test_stitching_parts_of_a_sound_gives_the_sound():
    whole = segment_of(chord(30000, RATE, 2))
    waveform = waveform_from_segment(whole)
    parts = [segment_of(waveform[:, start : start + 12000]) for start in (0, 9000, 18000)]
    result = waveform_from_segment(stitch(parts, 3000 / RATE))
    assert np.abs(result - waveform).max() <= ROUNDING


def test_joining_without_crossfade_is_exact():
    first, second = segment_of(noise(777, 2)), segment_of(noise(333, 2, seed=1))
    assert stitch([first, second]).raw_data == first.raw_data + second.raw_data
    assert stitch([first]) == first
    assert crossfade(first, second, 0).raw_data == first.raw_data + second.raw_data


@pytest.mark.parametrize("related", [0.0, 0.5, 1.0])
def test_power_stays_level_through_a_crossfade(related):
    common, a, b = noise(400_000), noise(400_000, seed=1), noise(400_000, seed=2)
    first = related**0.5 * common + (1 - related) ** 0.5 * a
    second = related**0.5 * common + (1 - related) ** 0.5 * b
    result = crossfade(segment_of(first), segment_of(second), 400_000 / RATE)
    blocks = waveform_from_segment(result).reshape(20, -1)
    level_db = 20 * np.log10(blocks.std(axis=1) / 0.1)
    assert np.abs(level_db).max() < 0.2


def test_crossfade_starts_with_the_first_and_ends_with_the_second():
    first, second = sine(300, 0.5, 0.1, RATE), sine(900, 0.5, 0.1, RATE)
    result = waveform_from_segment(crossfade(segment_of(first), segment_of(second), 0.1))
    assert np.abs(result[:, :20] - first[:, :20]).max() < 1e-3
    assert np.abs(result[:, -20:] - second[:, -20:]).max() < 1e-3


def test_crossfade_with_silence_is_a_fade():
    silence, tone = np.zeros((1, 4410), dtype=np.float32), sine(441, 0.5, 0.1, RATE)
    result = waveform_from_segment(crossfade(segment_of(tone), segment_of(silence), 0.1))
    assert np.abs(result[0, :100]).max() > 0.45
    assert np.abs(result[0, -100:]).max() < 0.01


def test_sums_clip_and_never_wrap():
    full = segment_of(np.full((1, 1000), 0.9))
    for result in (overlay([full, full]), crossfade(full, segment_of(-noise(1000)), 0.01)):
        assert waveform_from_segment(result).min() > -0.7
    assert waveform_from_segment(overlay([full, full])).min() > 0.999


@given(
    length=st.integers(1, 500),
    times=st.integers(1, 5),
    data=st.data(),
)
@settings(max_examples=50, deadline=None)
def test_loop_lengths(length, times, data):
    segment = segment_of(noise(length, 2))
    overlap = data.draw(st.integers(0, length - 1))
    result = loop(segment, times, crossfade_s=overlap / RATE)
    assert num_samples(result) == times * (length - overlap) + overlap
    total = data.draw(st.integers(0, 3000))
    limited = loop(segment, duration_s=total / RATE, crossfade_s=overlap / RATE)
    assert num_samples(limited) == total


def test_loop_repeats_bit_by_bit():
    segment = segment_of(noise(1000, 2), sample_width=4)
    assert loop(segment, 3).raw_data == segment.raw_data * 3
    cut = loop(segment, duration_s=2500 / RATE)
    assert cut.raw_data == (segment.raw_data * 3)[: 2500 * 8]


def test_loop_of_whole_periods_has_no_seam():
    # 441 Hz has 100 samples a period
    result = waveform_from_segment(loop(segment_of(sine(441, 0.5, 1, RATE)), 3))
    assert np.abs(result - sine(441, 0.5, 3, RATE)).max() <= ROUNDING


def test_crossfade_takes_the_step_out_of_a_loop():
    ramp = np.linspace(-0.5, 0.5, 10_000, dtype=np.float32)[None]
    hard = waveform_from_segment(loop(segment_of(ramp), 2))
    soft = waveform_from_segment(loop(segment_of(ramp), 2, crossfade_s=0.05))
    assert np.abs(np.diff(hard)).max() > 0.9
    assert np.abs(np.diff(soft)).max() < 0.01


def test_fades():
    segment = segment_of(np.full((2, 1000), 0.5))
    result = waveform_from_segment(fade(segment, 100 / RATE, 200 / RATE))
    assert np.all(np.diff(result[0, :100]) >= 0)
    assert np.all(np.diff(result[0, -200:]) <= 0)
    assert np.all(result[:, 100:800] == 0.5)
    assert result[0, 0] < 0.001
    assert result[1, -1] < 0.001
    assert fade(segment) == segment


def test_overlay_is_the_sum_as_long_as_the_first():
    a, b = noise(1000, 2), noise(700, 2, seed=1)
    result = waveform_from_segment(overlay([segment_of(a), segment_of(b)]))
    expected = a.copy()
    expected[:, :700] += b
    assert np.abs(result - expected).max() <= ROUNDING
    assert num_samples(overlay([segment_of(b), segment_of(a)])) == 700


def test_sample_widths_mix_into_the_widest():
    narrow, wide = segment_of(noise(100)), segment_of(noise(100), sample_width=4)
    byte = segment_of(noise(100), sample_width=1)
    result = stitch([narrow, wide, byte])
    assert result.sample_width == 4
    expected = [waveform_from_segment(segment) for segment in (narrow, wide, byte)]
    assert np.array_equal(waveform_from_segment(result), np.concatenate(expected, axis=1))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda a, b: stitch([]), "empty"),
        (lambda a, b: overlay([]), "empty"),
        (lambda a, b: stitch([a, b]), r"segments\[1\].*convert"),
        (lambda a, b: overlay([a, a, b]), r"segments\[2\].*convert"),
        (lambda a, b: crossfade(a, a, 1.0), "crossfade_s=1.0 is longer"),
        (lambda a, b: crossfade(a, a, -0.1), "crossfade_s=-0.1"),
        (lambda a, b: crossfade(a, a, float("nan")), "crossfade_s=nan"),
        (lambda a, b: loop(a), "give one of the two"),
        (lambda a, b: loop(a, 2, duration_s=1), "give one of the two"),
        (lambda a, b: loop(a, 0), "times=0"),
        (lambda a, b: loop(a, duration_s=-1), "duration_s=-1"),
        (lambda a, b: loop(a, 10**9), "at most"),
        (lambda a, b: loop(a, 2, crossfade_s=1000 / RATE), "shorter than the clip"),
        (lambda a, b: loop(segment_of(np.zeros((1, 0))), 2), "no samples"),
        (lambda a, b: fade(a, 1.0), "fade_in_s=1.0 is longer"),
        (lambda a, b: fade(a, 0, float("inf")), "fade_out_s=inf"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(InputError, match=message):
        call(segment_of(noise(1000)), segment_of(noise(1000), 48000))


def test_upstream_audio_from_waveform():
    samples = np.array([[100.4, -100.6, 40000.0], [0.0, 1.0, -40000.0]])
    segment = audio_from_waveform(samples, RATE)
    assert (segment.channels, segment.frame_rate, segment.sample_width) == (2, RATE, 2)
    assert list(segment.get_array_of_samples()) == [100, 0, -101, 1, 32767, -32768]
    integers = audio_from_waveform(np.array([[5, -6]], dtype=np.int16), RATE)
    assert list(integers.get_array_of_samples()) == [5, -6]
    normalized = audio_from_waveform(samples, RATE, normalize=True)
    assert max(normalized.get_array_of_samples()) == 32767
    silence = audio_from_waveform(np.zeros((1, 4)), RATE, normalize=True)
    assert not any(silence.get_array_of_samples())


def test_upstream_filters_and_joins():
    first, second = segment_of(drums(1, RATE)), segment_of(chord(RATE, RATE))
    assert apply_filters(first, compression=True) == apply_filters(first)
    assert apply_filters(first).max_dBFS <= -1
    assert stitch_segments([first, second], 0.1) == crossfade(first, second, 0.1)
    assert overlay_segments((first, second)) == overlay([first, second])
