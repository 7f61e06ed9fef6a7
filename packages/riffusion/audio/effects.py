"""Joining, repeating, mixing and fading clips, exact to the sample.

Durations are rounded to whole samples once. All clips in one call must have the same sample rate
and number of channels. Sums may exceed full scale; they clip when they are rounded to integers.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from riffusion.audio.waveform import Audio, Waveform, num_samples_in
from riffusion.errors import InputError

_MAX_LOOP_SAMPLES = 2**31
"""Maximum samples × channels of a repeated loop."""


def crossfade(first: Audio, second: Audio, duration_s: float) -> Audio:
    """Fade from one clip to the next; the result lasts as long as both, less the overlap.

    The gains follow a raised cosine, scaled so that the power stays level however similar the clips
    are: equal gain for the same sound (correlation 1), equal power for unrelated sounds
    (correlation 0). Fink, Holters, Zölzer, "Signal-matched power-complementary cross-fading and
    dry-wet mixing", DAFx 2016.

    Args:
        first: fades out.
        second: fades in; same rate and channel count.
        duration_s: length of the overlap, at most that of either clip; 0 just joins them.

    Raises:
        InputError: rates or channels differ, or the overlap is longer than a clip.
    """
    return stitch([first, second], duration_s)


def stitch(clips: Sequence[Audio], crossfade_s: float = 0.0) -> Audio:
    """Join clips, each faded into the next as in `crossfade`.

    The length is the sum of all lengths, less `len(clips) - 1` overlaps.

    Raises:
        InputError: no clip, rates or channels differ, or the overlap is longer than a clip.
    """
    first = _check_alike(clips)
    overlap = num_samples_in("crossfade_s", crossfade_s, first.sample_rate)
    lengths = [clip.num_samples for clip in clips]
    if len(clips) > 1 and overlap > min(lengths):
        index = lengths.index(min(lengths))
        raise InputError(
            f"crossfade_s={crossfade_s} is longer than clips[{index}] of "
            f"{clips[index].duration_s:g} s; shorten the crossfade"
        )
    total = sum(lengths) - overlap * (len(clips) - 1)
    result = np.zeros((first.num_channels, total), dtype=np.float32)
    end = 0
    for clip in clips:
        start = max(0, end - overlap)
        tail = result[:, start:end].copy()
        result[:, start : start + clip.num_samples] = clip.waveform
        if tail.size:
            result[:, start:end] = crossfaded(tail, clip.waveform[:, :overlap])
        end = start + clip.num_samples
    return Audio(result, first.sample_rate)


def crossfaded(tail: Waveform, head: Waveform) -> Waveform:
    """The crossfade of two parts that overlap completely, as in `crossfade`.

    Both and the result are (channels, samples). With gains a and b and correlation r, the power
    a² + b² + 2rab is 1 at every sample.
    """
    rise = _ramp(tail.shape[1])
    fall = rise[::-1]
    energy = np.sqrt(np.sum(tail.astype(np.float64) ** 2) * np.sum(head.astype(np.float64) ** 2))
    product = np.sum(tail.astype(np.float64) * head)
    correlation = min(max(product / energy, 0.0), 1.0) if energy > 0 else 0.0
    scale = np.sqrt(rise**2 + fall**2 + 2 * correlation * rise * fall)
    return np.asarray((tail * fall + head * rise) / scale, dtype=np.float32)


def take_over(previous: Audio, clip: Audio, crossfade_s: float) -> Audio:
    """A loop as it sounds after another loop, whose next repetition fades out over its start.

    If both loops have the same beat, the beat continues through the change. Loops that take over
    from one another last as long as all of them together.

    Args:
        previous: the loop that has played so far.
        clip: the loop that follows; the result has its length.
        crossfade_s: length of the fade, as in `crossfade`; at most that of either loop.

    Raises:
        InputError: rates or channels differ, or the fade is longer than a loop.
    """
    overlap = num_samples_in("crossfade_s", crossfade_s, previous.sample_rate)
    repetition = Audio(previous.waveform[:, :overlap], previous.sample_rate)
    return stitch([repetition, clip], crossfade_s)


def join_loops(loops: Sequence[Audio], crossfade_s: float) -> Audio:
    """Join loops with the same beat, each taking over from the one before it, without a gap.

    The result lasts as long as all of them together.

    Raises:
        InputError: no loop, rates or channels differ, or the fade is longer than a loop.
    """
    followers = [take_over(before, after, crossfade_s) for before, after in pairwise(loops)]
    return stitch([*loops[:1], *followers])


def loop(
    clip: Audio,
    times: int | None = None,
    *,
    duration_s: float | None = None,
    crossfade_s: float = 0.0,
) -> Audio:
    """Repeat a clip a number of times or up to a duration.

    Without a crossfade, every sample is repeated exactly, which suits clips that are loops already.
    For any other clip, a crossfade folds the end of each repetition into the start of the next,
    which shortens each repetition by the overlap.

    Args:
        clip: the clip to repeat.
        times: number of repetitions, at least 1.
        duration_s: length of the result; the last repetition is cut off there.
        crossfade_s: overlap of two repetitions, shorter than the clip.

    Raises:
        InputError: not exactly one of `times` and `duration_s`, an empty clip, a crossfade as long
            as the clip or longer, or a result that doesn't fit in memory.
    """
    overlap = num_samples_in("crossfade_s", crossfade_s, clip.sample_rate)
    if (times is None) == (duration_s is None):
        raise InputError(f"times={times}, duration_s={duration_s}: give one of the two")
    if clip.num_samples == 0:
        raise InputError("the clip holds no samples; there is nothing to repeat")
    if overlap >= clip.num_samples:
        raise InputError(
            f"crossfade_s={crossfade_s} must be shorter than the clip of {clip.duration_s:g} s"
        )
    period = clip.num_samples - overlap
    if times is not None:
        if times < 1:
            raise InputError(f"times={times} must be at least 1")
        total = times * period + overlap
    else:
        total = num_samples_in("duration_s", duration_s or 0.0, clip.sample_rate)
    if total * clip.num_channels > _MAX_LOOP_SAMPLES:
        raise InputError(
            f"the loop would last {total / clip.sample_rate:g} s; at most "
            f"{_MAX_LOOP_SAMPLES // clip.num_channels / clip.sample_rate:g} s fit"
        )
    if overlap:
        repetitions = max(1, -(-(total - overlap) // period))
        waveform = stitch([clip] * repetitions, overlap / clip.sample_rate).waveform
    else:
        waveform = np.tile(clip.waveform, -(-total // clip.num_samples))
    return Audio(waveform[:, :total], clip.sample_rate)


def fade(clip: Audio, fade_in_s: float = 0.0, fade_out_s: float = 0.0) -> Audio:
    """Fade a clip in from silence and out to silence, by a raised cosine.

    Raises:
        InputError: a fade is longer than the clip.
    """
    waveform = clip.waveform.copy()
    for name, duration_s in (("fade_in_s", fade_in_s), ("fade_out_s", fade_out_s)):
        length = num_samples_in(name, duration_s, clip.sample_rate)
        if length > clip.num_samples:
            raise InputError(
                f"{name}={duration_s} is longer than the clip of {clip.duration_s:g} s; "
                "shorten the fade"
            )
        if name == "fade_in_s":
            waveform[:, :length] *= _ramp(length)
        else:
            waveform[:, clip.num_samples - length :] *= _ramp(length)[::-1]
    return Audio(waveform, clip.sample_rate)


def overlay(clips: Sequence[Audio]) -> Audio:
    """Play clips at the same time: their sum, as long as the first one.

    Raises:
        InputError: no clip, or rates or channels differ.
    """
    first = _check_alike(clips)
    result = np.zeros_like(first.waveform)
    for clip in clips:
        waveform = clip.waveform[:, : first.num_samples]
        result[:, : waveform.shape[1]] += waveform
    return Audio(result, first.sample_rate)


def _ramp(length: int) -> npt.NDArray[np.float64]:
    """(length,) from near 0 to near 1; the ramp and its mirror image sum to 1."""
    return np.sin(np.pi / 2 * (np.arange(length) + 0.5) / max(length, 1)) ** 2


def _check_alike(clips: Sequence[Audio]) -> Audio:
    """The first clip, after checking that there is one and that all others match it."""
    if not clips:
        raise InputError("clips is empty; at least one clip is needed")
    first = clips[0]
    for index, clip in enumerate(clips):
        if (clip.sample_rate, clip.num_channels) != (first.sample_rate, first.num_channels):
            raise InputError(
                f"clips[{index}] has {clip.sample_rate} Hz and {clip.num_channels} channels, "
                f"clips[0] has {first.sample_rate} Hz and {first.num_channels}; "
                "convert them to the same rate and channels first (convert, or resample and "
                "with_channels)"
            )
    return first
