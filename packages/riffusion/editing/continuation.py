"""A recording as it would go on if its last bars repeated, and had repeated before its start."""

import math

import numpy as np

from riffusion.audio.effects import crossfaded
from riffusion.audio.recording import Recording
from riffusion.audio.waveform import Waveform

_FADE_S = 0.02
"""Crossfade from one repetition to the next."""


class Continuation:
    """A recording with repetitions of itself before and after; it can be read like a recording.

    After the end come the last `period_s` seconds again and again, before the start the first ones.
    So a beat with that period continues, whatever the number of repetitions.

    Args:
        recording: the recording.
        before, after: number of samples before its start and after its end.
        period_s: length of a repetition in seconds; at most the recording's.
    """

    def __init__(self, recording: Recording, before: int, after: int, period_s: float) -> None:
        self._recording = recording
        self._before = before
        self._period = period_s * recording.sample_rate
        self._fade = round(_FADE_S * recording.sample_rate)
        self.sample_rate = recording.sample_rate
        self.num_channels = recording.num_channels
        self.num_samples = before + recording.num_samples + after

    def waveform(self, start: int, stop: int) -> Waveform:
        """Samples from `start` up to `stop`, (channels, stop - start)."""
        parts = []
        length = self._recording.num_samples
        at, end = start - self._before, stop - self._before
        while at < end:
            number = self._repetition(at)
            upto = min(end, self._first(number + 1))
            parts.append(self._repeated(at, upto, number))
            at = upto
        return np.concatenate(parts, axis=1) if parts else self._recording.waveform(length, length)

    def _repetition(self, at: int) -> int:
        """0 in the recording, 1 in the first repetition after it, -1 in the one before it."""
        length = self._recording.num_samples
        if at < 0:
            return math.floor(at / self._period)
        return 0 if at < length else math.floor((at - length) / self._period) + 1

    def _first(self, number: int) -> int:
        """First sample of a repetition."""
        if number <= 0:
            return math.ceil(number * self._period)
        return self._recording.num_samples + math.ceil((number - 1) * self._period)

    def _repeated(self, start: int, stop: int, number: int) -> Waveform:
        """Samples of a repetition. Where two of them meet, one fades into the other.

        That is where both have sound: after the recording at a repetition's end, before it at a
        repetition's start.
        """
        found = self._shifted(start, stop, number)
        if number == 0:
            return found
        first = self._first(number) if number < 0 else self._first(number + 1) - self._fade
        begin, end = max(start, first), min(stop, first + self._fade)
        if begin >= end:
            return found
        numbers = (number - 1, number) if number < 0 else (number, number + 1)
        tail, head = (self._shifted(first, first + self._fade, each) for each in numbers)
        found[:, begin - start : end - start] = crossfaded(tail, head)[
            :, begin - first : end - first
        ]
        return found

    def _shifted(self, start: int, stop: int, number: int) -> Waveform:
        """The recording, moved by a number of periods; silence beyond its ends."""
        shift = round(number * self._period)
        begin, end = start - shift, stop - shift
        length = self._recording.num_samples
        inside = self._recording.waveform(*(min(max(0, at), length) for at in (begin, end)))
        before = min(max(0, -begin), end - begin)
        return np.pad(inside, ((0, 0), (before, end - begin - before - inside.shape[1])))
