"""Another duration at the same pitch, by Signalsmith Stretch, for audio of any length.

The library stretches a whole array at once. So a recording is stretched in blocks that overlap by a
second of the result, and neighbouring blocks are joined where they are most alike there: a phase
vocoder decides the phases of partials anew in each block, and a crossfade of unlike phases would
lose loudness. At the best place and shift of up to 6 ms, the crossfade's gains follow from how
alike the two are, so that the loudness is kept.

With correlation r of two equally loud signals, gains a and b keep the power if
a² + b² + 2·a·b·r = 1. So a straight crossfade with gains 1 - x and x is divided by

    √((1 - x)² + x² + 2·x·(1 - x)·r)
"""

import importlib.util
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from riffusion.audio.waveform import Waveform
from riffusion.errors import InputError
from riffusion.loops.oscillators import Signal

Read = Callable[[int, int], Waveform]
"""Reads samples from `start` to `stop`, (channels, stop - start), both within the audio."""

_BLOCK_S = 24.0
"""Length of a block of the longer of input and result."""
_OVERLAP_S = 1.0
_SETTLING_S = 0.25
"""Length of a block's result, at either end, that isn't used: two windows of the library."""
_FADE_S = 0.03
_SHIFT_S = 0.006
_PLACE_STEP_S = 0.01
_SEED = 0
"""For the library, which spreads phases randomly where it stretches more than twice."""


def check_library() -> None:
    """Check that the library for stretching is installed.

    Raises:
        InputError: it isn't.
    """
    if importlib.util.find_spec("python_stretch") is None:
        raise InputError(
            "changing tempo or pitch needs the package python-stretch, which isn't installed; "
            "install it (pip install python-stretch)"
        )


def stretched(
    read: Read, num_samples: int, num_channels: int, sample_rate: int, length: Fraction
) -> Iterator[Waveform]:
    """Stretch audio: yields parts of the result, `round(num_samples · length)` samples in all.

    A moment t of the audio is at t · length of the result; near the joins of blocks up to 6 ms off.

    Args:
        read: reads samples of the audio.
        num_samples: of the audio.
        num_channels: 1 or 2.
        sample_rate: in Hz.
        length: of the result relative to the audio; 1 returns the audio's own samples.
    """
    total = round(num_samples * length)
    block = round(_BLOCK_S * sample_rate * min(1.0, float(length)))
    if length == 1:
        for start in range(0, total, block):
            yield read(start, min(start + block, total))
        return
    stretcher = _Stretcher(read, num_samples, num_channels, sample_rate, length)
    overlap = round(_OVERLAP_S * sample_rate)
    start, tail = 0, None
    while start < total:
        # The last block takes the rest, so that it isn't too short.
        end = total if total - start < block + 2 * overlap else start + block
        margin = round(_SHIFT_S * sample_rate)
        last = min(total, end + overlap)
        part = stretcher.part(start - margin, last + margin)
        part = part[:, margin:] if tail is None else _joined(tail, part, margin, sample_rate)
        part = part[:, : last - start]
        yield part[:, : end - start]
        tail = part[:, end - start :]
        start = end


class _Stretcher:
    """Stretches any part of the result, apart from all others."""

    def __init__(
        self,
        read: Read,
        num_samples: int,
        num_channels: int,
        sample_rate: int,
        length: Fraction,
    ) -> None:
        from python_stretch import Signalsmith

        self._read = read
        self._num_samples = num_samples
        self._num_channels = num_channels
        self._length = length
        self._settling = round(_SETTLING_S * sample_rate * max(1.0, float(length)))
        self._new: Callable[[], Any] = lambda: Signalsmith.Stretch(_SEED)
        self._sample_rate = sample_rate

    def part(self, start: int, stop: int) -> Waveform:
        """Samples of the result, which may be beyond its ends: (channels, stop - start)."""
        first = int((start - self._settling) / self._length)
        last = int((stop + self._settling) / self._length) + 1
        audio = np.ascontiguousarray(self._audio(first, last), dtype=np.float32)
        stretch = self._new()
        stretch.preset(self._num_channels, self._sample_rate)
        stretch.setTimeFactor(float(1 / self._length))
        result: Waveform = stretch.process(audio)
        begin = start - round(first * self._length)
        wanted = np.zeros((self._num_channels, stop - start), np.float32)
        piece = result[:, begin : begin + stop - start]
        wanted[:, : piece.shape[1]] = piece
        return wanted

    def _audio(self, first: int, last: int) -> Waveform:
        """Samples of the audio, with silence beyond its ends."""
        low, high = max(0, first), min(self._num_samples, last)
        inside = self._read(low, max(low, high))
        return np.pad(inside, ((0, 0), (low - first, last - max(low, high))))


def _joined(tail: Waveform, part: Waveform, margin: int, sample_rate: int) -> Waveform:
    """The next part, faded in after the end of the one before it.

    Args:
        tail: what follows the end of the part before it: (channels, overlap).
        part: the next part, from `margin` samples before that end on.
        margin: largest shift.
        sample_rate: in Hz.

    Returns:
        The samples from that end on, and up to twice `margin` more than are needed.
    """
    fade = min(round(_FADE_S * sample_rate), tail.shape[1])
    place, shift, likeness = _best_place(tail, part, margin, fade, sample_rate)
    shifted = part[:, margin + shift :]
    joined = np.concatenate([tail[:, :place], shifted[:, place:]], axis=1)
    x = (np.arange(fade, dtype=np.float32) + 0.5) / fade
    gain = 1 / np.sqrt((1 - x) ** 2 + x**2 + 2 * x * (1 - x) * np.float32(likeness))
    region = slice(place, place + fade)
    joined[:, region] = gain * ((1 - x) * tail[:, region] + x * shifted[:, region])
    return joined


def _best_place(
    tail: Waveform, part: Waveform, margin: int, fade: int, sample_rate: int
) -> tuple[int, int, float]:
    """Where, and with which shift, two parts are most alike over a crossfade.

    Returns:
        The crossfade's first sample in `tail`, the shift of `part`, and their correlation there,
        at least 0.
    """
    step = max(1, round(_PLACE_STEP_S * sample_rate))
    mono, other = tail.mean(axis=0), part.mean(axis=0)
    best = (0, 0, -1.0)
    for place in range(0, max(1, mono.size - fade), step):
        correlations = _correlations(
            mono[place : place + fade], other[place : place + fade + 2 * margin]
        )
        if correlations.size == 0:
            break
        at = int(np.argmax(correlations))
        if correlations[at] > best[2]:
            best = (place, at - margin, float(correlations[at]))
    return best[0], best[1], max(0.0, best[2])


def _correlations(pattern: npt.NDArray[np.float32], signal: npt.NDArray[np.float32]) -> Signal:
    """Normalised correlation of a pattern at each position of a signal; 1 where both are silent."""
    if signal.size < pattern.size:
        return np.zeros(0)
    size = signal.size + pattern.size
    products = np.fft.irfft(np.fft.rfft(signal, size) * np.conj(np.fft.rfft(pattern, size)), size)
    count = signal.size - pattern.size + 1
    sums = np.concatenate([[0.0], np.cumsum(signal.astype(np.float64) ** 2)])
    energy = np.maximum(sums[pattern.size :] - sums[:count], 0)
    own = float(np.sum(pattern.astype(np.float64) ** 2))
    scale = np.sqrt(energy * own)
    result: Signal = np.where(scale > 1e-9, products[:count] / np.maximum(scale, 1e-9), 1.0)
    return result
