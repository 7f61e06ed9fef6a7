"""Joining clips, exact to the sample: crossfade, stitch, take over, loop, overlay, fade.

Durations are rounded to whole samples once. All clips of one call have the same rate and channel
count; `convert` makes them so. Results keep the widest sample width, and clip where sums go
beyond full scale.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from riffusion.audio.segments import (
    AudioSegment,
    Waveform,
    num_samples,
    num_samples_in,
    samples_from_segment,
    segment_from_samples,
    segment_from_waveform,
    waveform_from_segment,
)
from riffusion.errors import InputError

_MAX_LOOP_SAMPLES = 2**31
"""Most samples × channels of a loop."""


def crossfade(first: AudioSegment, second: AudioSegment, duration_s: float) -> AudioSegment:
    """Fade from one clip to the next: the sum of their lengths, less the overlap.

    The gains follow a raised cosine, scaled so that the power stays level whatever the clips have
    in common: equal gain for the same sound (correlation 1), equal power for unrelated sounds
    (correlation 0). Fink, Holters, Zölzer, "Signal-matched power-complementary cross-fading and
    dry-wet mixing", DAFx 2016.

    Args:
        first: fades out.
        second: fades in; of the same rate and channel count.
        duration_s: of the overlap; at most either clip's length. 0 just joins them.

    Raises:
        InputError: rates or channels differ, or the overlap is longer than a clip.
    """
    return stitch([first, second], duration_s)


def stitch(segments: Sequence[AudioSegment], crossfade_s: float = 0.0) -> AudioSegment:
    """Join clips, each faded into the next as in `crossfade`.

    The length is the sum of the lengths, less `len(segments) - 1` overlaps.

    Raises:
        InputError: no clip, rates or channels differ, or the overlap is longer than a clip.
    """
    first = _check_alike(segments)
    overlap = num_samples_in("crossfade_s", crossfade_s, first.frame_rate)
    lengths = [num_samples(segment) for segment in segments]
    if len(segments) > 1 and overlap > min(lengths):
        index = lengths.index(min(lengths))
        raise InputError(
            f"crossfade_s={crossfade_s} is longer than segments[{index}] of "
            f"{lengths[index] / first.frame_rate:g} s; shorten the crossfade"
        )
    if overlap == 0:
        width = _width(segments)
        parts = [samples_from_segment(_widened(segment, width)) for segment in segments]
        return segment_from_samples(np.concatenate(parts, axis=1), first.frame_rate)
    total = sum(lengths) - overlap * (len(segments) - 1)
    result = np.zeros((first.channels, total), dtype=np.float32)
    end = 0
    for segment in segments:
        waveform = waveform_from_segment(segment)
        start = end - overlap if end else 0
        if end:
            waveform[:, :overlap] = _mixed(result[:, start:end], waveform[:, :overlap])
        end = start + waveform.shape[1]
        result[:, start:end] = waveform
    return segment_from_waveform(result, first.frame_rate, sample_width=_width(segments))


def take_over(previous: AudioSegment, segment: AudioSegment, crossfade_s: float) -> AudioSegment:
    """A loop as it sounds after another one: that one's next round fades out over its start.

    Both have one beat, so it holds. Loops that take over one after the other last as long as all of
    them together.

    Args:
        previous: the loop that sounded until then.
        segment: the loop that comes; the result is as long.
        crossfade_s: of the fade, as in `crossfade`; at most either loop's length.

    Raises:
        InputError: rates or channels differ, or the fade is longer than a loop.
    """
    overlap = num_samples_in("crossfade_s", crossfade_s, previous.frame_rate)
    next_round = samples_from_segment(previous)[:, :overlap]
    return stitch([segment_from_samples(next_round, previous.frame_rate), segment], crossfade_s)


def loop(
    segment: AudioSegment,
    times: int | None = None,
    *,
    duration_s: float | None = None,
    crossfade_s: float = 0.0,
) -> AudioSegment:
    """Repeat a clip, a number of times or up to a duration.

    A clip that is a loop already is repeated bit by bit. For any other, a crossfade folds the end
    of each turn into the start of the next, which makes a turn that much shorter.

    Args:
        segment: what to repeat.
        times: turns, at least 1.
        duration_s: length of the result; the last turn is cut where it ends.
        crossfade_s: overlap of two turns, less than the clip's length.

    Raises:
        InputError: not exactly one of `times` and `duration_s`, an empty clip, the crossfade is as
            long as the clip or longer, or the result doesn't fit in memory.
    """
    length = num_samples(segment)
    overlap = num_samples_in("crossfade_s", crossfade_s, segment.frame_rate)
    if (times is None) == (duration_s is None):
        raise InputError(f"times={times}, duration_s={duration_s}: give one of the two")
    if length == 0:
        raise InputError("segment holds no samples; there is nothing to repeat")
    if overlap >= length:
        raise InputError(
            f"crossfade_s={crossfade_s} must be shorter than the clip of "
            f"{length / segment.frame_rate:g} s"
        )
    period = length - overlap
    if times is not None:
        if times < 1:
            raise InputError(f"times={times} must be at least 1")
        total = times * period + overlap
    else:
        total = num_samples_in("duration_s", duration_s or 0.0, segment.frame_rate)
    if total * segment.channels > _MAX_LOOP_SAMPLES:
        raise InputError(
            f"the loop would last {total / segment.frame_rate:g} s; at most "
            f"{_MAX_LOOP_SAMPLES // segment.channels / segment.frame_rate:g} s fit"
        )
    if overlap:
        turns = max(1, -(-(total - overlap) // period))
        samples = samples_from_segment(stitch([segment] * turns, overlap / segment.frame_rate))
    else:
        samples = np.tile(samples_from_segment(segment), -(-total // length))
    return segment_from_samples(samples[:, :total], segment.frame_rate)


def fade(segment: AudioSegment, fade_in_s: float = 0.0, fade_out_s: float = 0.0) -> AudioSegment:
    """Raise the start from silence and lower the end to silence, by a raised cosine.

    Raises:
        InputError: a fade is longer than the clip.
    """
    waveform = waveform_from_segment(segment)
    for name, duration_s in (("fade_in_s", fade_in_s), ("fade_out_s", fade_out_s)):
        length = num_samples_in(name, duration_s, segment.frame_rate)
        if length > waveform.shape[1]:
            raise InputError(
                f"{name}={duration_s} is longer than the clip of "
                f"{waveform.shape[1] / segment.frame_rate:g} s; shorten the fade"
            )
        if name == "fade_in_s":
            waveform[:, :length] *= _ramp(length)
        else:
            waveform[:, waveform.shape[1] - length :] *= _ramp(length)[::-1]
    return segment_from_waveform(waveform, segment.frame_rate, sample_width=segment.sample_width)


def overlay(segments: Sequence[AudioSegment]) -> AudioSegment:
    """Play clips at once: their sum, as long as the first.

    Raises:
        InputError: no clip, or rates or channels differ.
    """
    first = _check_alike(segments)
    result = np.zeros((first.channels, num_samples(first)), dtype=np.float32)
    for segment in segments:
        waveform = waveform_from_segment(segment)[:, : result.shape[1]]
        result[:, : waveform.shape[1]] += waveform
    return segment_from_waveform(result, first.frame_rate, sample_width=_width(segments))


def _mixed(tail: Waveform, head: Waveform) -> Waveform:
    """The crossfade of two overlapping parts, both (channels, samples).

    With gains a and b and correlation r, the power a² + b² + 2rab is 1 at every sample.
    """
    rise = _ramp(tail.shape[1])
    fall = rise[::-1]
    energy = np.sqrt(np.sum(tail.astype(np.float64) ** 2) * np.sum(head.astype(np.float64) ** 2))
    product = np.sum(tail.astype(np.float64) * head)
    correlation = min(max(product / energy, 0.0), 1.0) if energy > 0 else 0.0
    scale = np.sqrt(rise**2 + fall**2 + 2 * correlation * rise * fall)
    return np.asarray((tail * fall + head * rise) / scale, dtype=np.float32)


def _ramp(length: int) -> npt.NDArray[np.float64]:
    """(length,) from near 0 to near 1; the ramp and its mirror image sum to 1."""
    return np.sin(np.pi / 2 * (np.arange(length) + 0.5) / max(length, 1)) ** 2


def _check_alike(segments: Sequence[AudioSegment]) -> AudioSegment:
    """The first clip, after checking that there is one and that all others match it."""
    if not segments:
        raise InputError("segments is empty; at least one clip is needed")
    first = segments[0]
    for index, segment in enumerate(segments):
        if (segment.frame_rate, segment.channels) != (first.frame_rate, first.channels):
            raise InputError(
                f"segments[{index}] has {segment.frame_rate} Hz and {segment.channels} channels, "
                f"segments[0] has {first.frame_rate} Hz and {first.channels}; "
                "bring them together with convert(segment, sample_rate=, channels=)"
            )
    return first


def _width(segments: Sequence[AudioSegment]) -> int:
    """Bytes of a sample of the widest clip."""
    return max(int(segment.sample_width) for segment in segments)


def _widened(segment: AudioSegment, width: int) -> AudioSegment:
    """The clip with wider samples; exact."""
    if segment.sample_width == width:
        return segment
    samples = samples_from_segment(segment).astype({2: np.int16, 4: np.int32}[width])
    return segment_from_samples(samples << 8 * (width - segment.sample_width), segment.frame_rate)
