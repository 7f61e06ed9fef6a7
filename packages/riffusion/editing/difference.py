"""The difference of two recordings: what an edit changed, as sound.

Samples are subtracted as integers, so `before + difference = after` holds bit for bit. A difference
beyond full scale, which two opposite loud samples make, clips there; it is counted.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from riffusion.audio.decoded_integers import widened
from riffusion.audio.pcm import Pcm, Samples
from riffusion.audio.recording import Recording
from riffusion.audio.tags import NO_TAGS
from riffusion.editing.splicing import writer_like
from riffusion.errors import InputError

_BLOCK = 2**16
"""Samples that are in memory at once."""


@dataclass(frozen=True)
class Difference:
    """What differs between two recordings.

    Args:
        start, stop: the first sample that differs in any channel, and the one after the last; both
            0 if the recordings are equal.
        num_clipped: samples of all channels whose difference clips at full scale.
        peak: highest magnitude of a difference relative to full scale, from 0 to 2; more than 1
            clips.
    """

    start: int
    stop: int
    num_clipped: int
    peak: float


def check_alike(before: Recording, after: Recording) -> None:
    """Check that two recordings have samples at the same times.

    Raises:
        InputError: they differ in their sample rate, number of channels or length.
    """
    if before.sample_rate != after.sample_rate:
        raise InputError(
            f"the recordings have {before.sample_rate} Hz and {after.sample_rate} Hz; give two of "
            "the same sample rate",
            "after",
        )
    if before.num_channels != after.num_channels:
        raise InputError(
            f"the recordings have {before.num_channels} and {after.num_channels} channels; give "
            "two with the same number",
            "after",
        )
    if before.num_samples != after.num_samples:
        raise InputError(
            f"the recordings have {before.num_samples} and {after.num_samples} samples; give two "
            "of the same length, as only these correspond sample by sample",
            "after",
        )


def differences(before: Recording, after: Recording) -> Iterator[npt.NDArray[np.int64]]:
    """`after` − `before` in blocks (channels, samples), in units of the wider sample type.

    Raises:
        InputError: as `check_alike`.
    """
    check_alike(before, after)
    dtype = np.dtype(np.int16 if _is_narrow(before) and _is_narrow(after) else np.int32)
    for start in range(0, before.num_samples, _BLOCK):
        stop = min(start + _BLOCK, before.num_samples)
        old, new = (
            widened(recording.samples(start, stop), dtype).astype(np.int64)
            for recording in (before, after)
        )
        yield new - old


def write_difference(before: Recording, after: Recording, path: str | Path) -> Difference:
    """Write what differs between two recordings; the file is written whole or not at all.

    A wav or flac has the bits of the recording with more of them, but for 32 bits in a flac, which
    become 24. Other formats are encoded as usual.

    Raises:
        InputError: as `check_alike`, or the file can't be written.
    """
    check_alike(before, after)
    like = max((before, after), key=lambda recording: (recording.sample_width, recording.bits))
    limits = np.iinfo(np.int16 if _is_narrow(like) else np.int32)
    position, start, stop, num_clipped, peak = 0, 0, 0, 0, 0
    with writer_like(like, path, NO_TAGS) as writer:
        for block in differences(before, after):
            changed = np.flatnonzero(block.any(axis=0))
            if len(changed):
                start = position + int(changed[0]) if stop == 0 else start
                stop = position + int(changed[-1]) + 1
                peak = max(peak, int(np.abs(block).max()))
            clipped: Samples = np.clip(block, limits.min, limits.max).astype(limits.dtype)
            num_clipped += int(np.count_nonzero(clipped != block))
            writer.write(Pcm(clipped, like.sample_rate))
            position += block.shape[1]
    return Difference(start, stop, num_clipped, peak / (limits.max + 1))


def _is_narrow(recording: Recording) -> bool:
    return recording.sample_width == np.dtype(np.int16).itemsize
