"""Cutting short clips out of a longer recording, at random positions."""

import random

from riffusion.audio.segments import (
    AudioSegment,
    num_samples,
    samples_from_segment,
    segment_from_samples,
)
from riffusion.errors import InputError


def sample_starts_ms(
    segment: AudioSegment, duration_ms: int, num_clips: int, rng: random.Random
) -> list[int]:
    """Random start times of clips that fit inside a recording, uniform over whole milliseconds.

    Args:
        segment: the recording.
        duration_ms: duration of each clip, at most that of the recording.
        num_clips: number of clips; they may overlap.
        rng: the same state gives the same start times.

    Raises:
        InputError: the recording is shorter than a clip, or a number is below 1.
    """
    if duration_ms < 1:
        raise InputError(f"{duration_ms} must be at least 1 ms", field="duration_ms")
    if num_clips < 1:
        raise InputError(f"{num_clips} must be at least 1", field="num_clips")
    rate = segment.frame_rate
    spare = num_samples(segment) - _samples_in(duration_ms, rate)
    if spare < 0:
        raise InputError(
            f"{duration_ms} ms are longer than the audio, which lasts "
            f"{num_samples(segment) * 1000 / rate:.0f} ms; take shorter clips or longer audio",
            field="duration_ms",
        )
    last_ms = spare * 1000 // rate
    return [rng.randint(0, last_ms) for _ in range(num_clips)]


def cut_clip(segment: AudioSegment, start_ms: int, duration_ms: int) -> AudioSegment:
    """The clip of a recording that starts at `start_ms`, exact to the sample, in the same format.

    Raises:
        InputError: the clip would start or end outside the recording.
    """
    start = _samples_in(start_ms, segment.frame_rate)
    stop = start + _samples_in(duration_ms, segment.frame_rate)
    if not 0 <= start < stop <= num_samples(segment):
        raise InputError(
            f"start_ms={start_ms}, duration_ms={duration_ms} is outside the audio, which lasts "
            f"{num_samples(segment) * 1000 / segment.frame_rate:.0f} ms"
        )
    return segment_from_samples(samples_from_segment(segment)[:, start:stop], segment.frame_rate)


def _samples_in(duration_ms: int, rate: int) -> int:
    return round(duration_ms * rate / 1000)
