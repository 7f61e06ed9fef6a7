"""Joining, repeating, mixing and fading clips; and upstream's functions for segments."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from riffusion.audio import (
    Audio,
    audio_from_segment,
    crossfade,
    fade,
    join_loops,
    loop,
    overlay,
    segment_from_audio,
    segment_from_waveform,
    stitch,
    take_over,
    waveform_from_segment,
)
from riffusion.errors import InputError
from riffusion.util.audio_util import (
    apply_filters,
    audio_from_waveform,
    overlay_segments,
    stitch_segments,
)
from tests.audio.audio_signals import Signal, chord, drums, noise, sine

RATE = 44100
ROUNDING = 1e-6
"""Full scale: float32 arithmetic on values below 1."""


def segment_of(waveform: Signal, **options: int):
    return segment_from_waveform(waveform, RATE, **options)


def clip_of(waveform: Signal, rate: int = RATE) -> Audio:
    return Audio(waveform, rate)


def test_audio_is_float32_and_knows_its_length():
    audio = Audio(np.zeros((2, 22050)), RATE)
    assert audio.waveform.dtype == np.float32
    assert (audio.num_channels, audio.num_samples, audio.duration_s) == (2, 22050, 0.5)
    with pytest.raises(InputError, match=r"waveform\[None\]"):
        Audio(np.zeros(5, dtype=np.float32), RATE)
    with pytest.raises(InputError, match="sample_rate=0"):
        Audio(np.zeros((1, 5), dtype=np.float32), 0)


@given(
    lengths=st.lists(st.integers(200, 2000), min_size=1, max_size=6),
    overlap=st.integers(0, 200),
    channels=st.integers(1, 2),
)
@settings(max_examples=60, deadline=None)
def test_stitched_length_is_the_sum_less_the_overlaps(lengths, overlap, channels):
    clips = [clip_of(noise(length, channels)) for length in lengths]
    result = stitch(clips, overlap / RATE)
    assert result.num_samples == sum(lengths) - overlap * (len(lengths) - 1)
    # outside the overlaps, samples stay the same
    inner = lengths[0] - overlap
    assert np.array_equal(result.waveform[:, :inner], clips[0].waveform[:, :inner])


def test_stitching_parts_of_a_sound_gives_the_sound():
    whole = chord(30000, RATE, 2)
    parts = [clip_of(whole[:, start : start + 12000]) for start in (0, 9000, 18000)]
    result = stitch(parts, 3000 / RATE).waveform
    assert np.abs(result - whole).max() <= ROUNDING


def test_inputs_are_not_changed():
    first, second = clip_of(noise(1000)), clip_of(noise(1000, seed=1))
    before = first.waveform.copy(), second.waveform.copy()
    stitch([first, second], 0.01)
    take_over(first, second, 0.01)
    fade(first, 0.01, 0.01)
    overlay([first, second])
    assert np.array_equal(first.waveform, before[0])
    assert np.array_equal(second.waveform, before[1])


def test_joining_without_crossfade_is_exact():
    first, second = noise(777, 2), noise(333, 2, seed=1)
    expected = np.concatenate([first, second], axis=1)
    assert np.array_equal(stitch([clip_of(first), clip_of(second)]).waveform, expected)
    assert np.array_equal(stitch([clip_of(first)]).waveform, first)
    assert np.array_equal(crossfade(clip_of(first), clip_of(second), 0).waveform, expected)


@pytest.mark.parametrize("related", [0.0, 0.5, 1.0])
def test_power_stays_level_through_a_crossfade(related):
    common, a, b = noise(400_000), noise(400_000, seed=1), noise(400_000, seed=2)
    first = related**0.5 * common + (1 - related) ** 0.5 * a
    second = related**0.5 * common + (1 - related) ** 0.5 * b
    result = crossfade(clip_of(first), clip_of(second), 400_000 / RATE)
    blocks = result.waveform.reshape(20, -1)
    level_db = 20 * np.log10(blocks.std(axis=1) / 0.1)
    assert np.abs(level_db).max() < 0.2


def test_crossfade_starts_with_the_first_and_ends_with_the_second():
    first, second = sine(300, 0.5, 0.1, RATE), sine(900, 0.5, 0.1, RATE)
    result = crossfade(clip_of(first), clip_of(second), 0.1).waveform
    assert np.abs(result[:, :20] - first[:, :20]).max() < 1e-3
    assert np.abs(result[:, -20:] - second[:, -20:]).max() < 1e-3


def test_crossfade_with_silence_is_a_fade():
    silence, tone = np.zeros((1, 4410), dtype=np.float32), sine(441, 0.5, 0.1, RATE)
    result = crossfade(clip_of(tone), clip_of(silence), 0.1).waveform
    assert np.abs(result[0, :100]).max() > 0.45
    assert np.abs(result[0, -100:]).max() < 0.01


def test_sums_beyond_full_scale_clip_in_a_segment_and_never_wrap():
    full = clip_of(np.full((1, 1000), 0.9))
    total = overlay([full, full])
    assert total.waveform == pytest.approx(1.8)
    assert waveform_from_segment(segment_from_audio(total)).min() > 0.999
    segment = segment_from_audio(full)
    assert waveform_from_segment(overlay_segments([segment, segment])).min() > 0.999


@given(
    length=st.integers(1, 500),
    times=st.integers(1, 5),
    data=st.data(),
)
@settings(max_examples=50, deadline=None)
def test_loop_lengths(length, times, data):
    clip = clip_of(noise(length, 2))
    overlap = data.draw(st.integers(0, length - 1))
    result = loop(clip, times, crossfade_s=overlap / RATE)
    assert result.num_samples == times * (length - overlap) + overlap
    total = data.draw(st.integers(0, 3000))
    limited = loop(clip, duration_s=total / RATE, crossfade_s=overlap / RATE)
    assert limited.num_samples == total


def test_loop_repeats_samples_exactly():
    clip = clip_of(noise(1000, 2))
    expected = np.tile(clip.waveform, 3)
    assert np.array_equal(loop(clip, 3).waveform, expected)
    cut = loop(clip, duration_s=2500 / RATE)
    assert np.array_equal(cut.waveform, expected[:, :2500])


def test_loop_of_whole_periods_has_no_seam():
    # 441 Hz has 100 samples a period
    result = loop(clip_of(sine(441, 0.5, 1, RATE)), 3).waveform
    assert np.abs(result - sine(441, 0.5, 3, RATE)).max() <= ROUNDING


def test_crossfade_takes_the_step_out_of_a_loop():
    ramp = np.linspace(-0.5, 0.5, 10_000, dtype=np.float32)[None]
    hard = loop(clip_of(ramp), 2).waveform
    soft = loop(clip_of(ramp), 2, crossfade_s=0.05).waveform
    assert np.abs(np.diff(hard)).max() > 0.9
    assert np.abs(np.diff(soft)).max() < 0.01


def test_fades():
    clip = clip_of(np.full((2, 1000), 0.5))
    result = fade(clip, 100 / RATE, 200 / RATE).waveform
    assert np.all(np.diff(result[0, :100]) >= 0)
    assert np.all(np.diff(result[0, -200:]) <= 0)
    assert np.all(result[:, 100:800] == 0.5)
    assert result[0, 0] < 0.001
    assert result[1, -1] < 0.001
    assert np.array_equal(fade(clip).waveform, clip.waveform)


def test_overlay_is_the_sum_as_long_as_the_first():
    a, b = noise(1000, 2), noise(700, 2, seed=1)
    result = overlay([clip_of(a), clip_of(b)]).waveform
    expected = a.copy()
    expected[:, :700] += b
    assert np.abs(result - expected).max() <= ROUNDING
    assert overlay([clip_of(b), clip_of(a)]).num_samples == 700


def test_a_take_over_is_a_repetition_of_the_previous_loop_then_the_new_loop():
    first, second = clip_of(chord(4410, RATE)), clip_of(chord(4410, RATE) * -0.5)
    joined = take_over(first, second, 0.01).waveform
    assert joined.shape == (1, 4410)
    assert np.array_equal(joined[:, 441:], second.waveform[:, 441:])
    assert np.abs(joined[:, :8] - first.waveform[:, :8]).max() < 0.02
    same = take_over(first, first, 0.01).waveform
    assert np.abs(same - first.waveform).max() <= ROUNDING


@pytest.mark.parametrize("crossfade_s", [0.0, 0.1])
def test_joined_loops_keep_their_beat(crossfade_s: float):
    """Joining a loop with itself repeats it, whatever the crossfade."""
    beat = clip_of(sine(440, 0.4, 0.1, RATE))
    joined = join_loops([beat] * 3, crossfade_s).waveform
    expected = np.tile(beat.waveform, 3)
    assert joined.shape == expected.shape
    assert np.abs(joined - expected).max() <= ROUNDING


def test_sample_widths_mix_into_the_widest():
    narrow, wide = segment_of(noise(100)), segment_of(noise(100), sample_width=4)
    byte = segment_of(noise(100), sample_width=1)
    result = stitch_segments([narrow, wide, byte], 0)
    assert result.sample_width == 4
    expected = [waveform_from_segment(segment) for segment in (narrow, wide, byte)]
    assert np.array_equal(waveform_from_segment(result), np.concatenate(expected, axis=1))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda a, b: stitch([]), "empty"),
        (lambda a, b: overlay([]), "empty"),
        (lambda a, b: join_loops([], 0.1), "empty"),
        (lambda a, b: stitch([a, b]), r"clips\[1\].*convert"),
        (lambda a, b: overlay([a, a, b]), r"clips\[2\].*convert"),
        (lambda a, b: crossfade(a, a, 1.0), "crossfade_s=1.0 is longer"),
        (lambda a, b: crossfade(a, a, -0.1), "crossfade_s=-0.1"),
        (lambda a, b: crossfade(a, a, float("nan")), "crossfade_s=nan"),
        (lambda a, b: loop(a), "give one of the two"),
        (lambda a, b: loop(a, 2, duration_s=1), "give one of the two"),
        (lambda a, b: loop(a, 0), "times=0"),
        (lambda a, b: loop(a, duration_s=-1), "duration_s=-1"),
        (lambda a, b: loop(a, 10**9), "at most"),
        (lambda a, b: loop(a, 2, crossfade_s=1000 / RATE), "shorter than the clip"),
        (lambda a, b: loop(clip_of(np.zeros((1, 0))), 2), "no samples"),
        (lambda a, b: fade(a, 1.0), "fade_in_s=1.0 is longer"),
        (lambda a, b: fade(a, 0, float("inf")), "fade_out_s=inf"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(InputError, match=message):
        call(clip_of(noise(1000)), clip_of(noise(1000), 48000))


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
    clips = [audio_from_segment(first), audio_from_segment(second)]
    assert apply_filters(first, compression=True) == apply_filters(first)
    assert apply_filters(first).max_dBFS <= -1
    assert stitch_segments([first, second], 0.1) == segment_from_audio(stitch(clips, 0.1))
    assert overlay_segments((first, second)) == segment_from_audio(overlay(clips))
