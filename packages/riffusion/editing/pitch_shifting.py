"""Another pitch at the same duration: stretched, then played back faster or slower.

Playing back r times as fast raises the pitch by 12·log2(r) semitones and shortens the audio to
1 / r. So audio that is first stretched to r times its length comes out as long as it was. The pitch
is as exact as r, which is taken as a fraction within 0.1 cents. (Signalsmith Stretch can shift
pitches by itself; low tones then come out up to 20 cents off.)
"""

import itertools
from collections.abc import Iterator
from fractions import Fraction

import numpy as np

from riffusion.audio.polyphase import filter_half_width, resample_polyphase
from riffusion.audio.waveform import Waveform
from riffusion.editing.stretching import Read, stretched

_LARGEST_ERROR = 5e-5
"""Largest error of the speed, as a share of it: 0.09 cents."""
_SAMPLES_AT_ONCE = 2**17


def shifted(
    read: Read,
    num_samples: int,
    num_channels: int,
    sample_rate: int,
    semitones: float,
    length: Fraction = Fraction(1),
) -> Iterator[Waveform]:
    """Move the pitch of audio, and stretch it: yields parts of the result.

    Args:
        read: reads samples of the audio.
        num_samples: of the audio.
        num_channels: 1 or 2.
        sample_rate: in Hz.
        semitones: upwards positive.
        length: of the result relative to the audio; it has `round(num_samples · length)` samples.
    """
    speed = _speed(semitones)
    parts = stretched(read, num_samples, num_channels, sample_rate, length * speed)
    if speed == 1:
        yield from parts
        return
    missing = round(num_samples * length)
    for part in _played_back(parts, num_channels, speed):
        yield part[:, :missing]
        missing -= min(missing, part.shape[1])
    if missing:
        yield np.zeros((num_channels, missing), np.float32)


def _speed(semitones: float) -> Fraction:
    """The ratio of frequencies, by the fraction that makes the smallest resampling filter."""
    ratio = 2 ** (semitones / 12)
    for denominator in itertools.count(1):
        speed = Fraction(round(ratio * denominator), denominator)
        if abs(speed / Fraction(ratio) - 1) < _LARGEST_ERROR:
            return speed
    raise AssertionError("unreachable: the error falls with the denominator")


def _played_back(
    parts: Iterator[Waveform], num_channels: int, speed: Fraction
) -> Iterator[Waveform]:
    """Play audio back faster or slower; the result's last part may be a few samples too long.

    Blocks are whole numbers of the resampler's periods, so they give what the whole audio gives.
    """
    up, down = speed.denominator, speed.numerator
    context = -(-filter_half_width(up, down) // down) * down
    step = max(1, _SAMPLES_AT_ONCE // down) * down
    waiting = np.zeros((num_channels, context), np.float32)
    for part in parts:
        waiting = np.concatenate([waiting, part], axis=1)
        while waiting.shape[1] >= step + 2 * context:
            yield _resampled(waiting[:, : step + 2 * context], up, down, context, step)
            waiting = waiting[:, step:]
    rest = -(-(waiting.shape[1] - context) // down) * down
    if rest:
        padding = rest + 2 * context - waiting.shape[1]
        yield _resampled(np.pad(waiting, ((0, 0), (0, padding))), up, down, context, rest)


def _resampled(block: Waveform, up: int, down: int, context: int, length: int) -> Waveform:
    """The outputs of the `length` samples between the first and the last `context`."""
    first = context // down * up
    return resample_polyphase(block, up, down)[:, first : first + length // down * up]
