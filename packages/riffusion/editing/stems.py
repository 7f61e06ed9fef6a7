"""Stems: parts of a recording that sound at the same time and add up to it bit for bit.

A separator estimates all stems but the last one, in floats. They are rounded to the recording's
bits, and the last stem is the recording minus the others, in integers.
"""

import logging
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from riffusion.audio.pcm import SAMPLE_TYPES, Pcm, Samples
from riffusion.audio.recording import Recording
from riffusion.edit_fields import MAX_GAIN_DB
from riffusion.editing.clipping import Clipping
from riffusion.editing.splicing import writer_like
from riffusion.errors import InputError

logger = logging.getLogger(__name__)

Progress = Callable[[int, int], None]
"""Called with the samples that are done, and the samples of the recording."""


class Separator(Protocol):
    """Takes a recording apart."""

    @property
    def names(self) -> tuple[str, ...]:
        """The stems' names; the last one is what the others leave."""

    def __call__(self, recording: Recording) -> Iterator[npt.NDArray[np.float32]]:
        """Blocks (stems - 1, channels, samples), in order, as long as the recording altogether."""


def stem_blocks(recording: Recording, separator: Separator) -> Iterator[npt.NDArray[np.int64]]:
    """Blocks (stems, channels, samples), which add up to the recording exactly.

    Values have the recording's scale (2^15 or 2^31), and fit its samples; 24 bits are the upper
    ones of 32.
    """
    shift = 8 if recording.bits == 24 else 0
    bits = 8 * recording.sample_width - shift
    low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    position = 0
    for block in separator(recording):
        end = position + block.shape[2]
        whole = recording.samples(position, end).astype(np.int64) >> shift
        scaled = np.rint(block.astype(np.float64) * 2.0 ** (bits - 1))
        stems = np.empty((len(block) + 1, *whole.shape), np.int64)
        np.clip(scaled, low, high, out=stems[:-1], casting="unsafe")
        rest = whole - stems[:-1].sum(axis=0)
        stems[-1] = np.clip(rest, low, high)
        # What the last stem has no room for goes into the others, in which there is enough.
        excess = rest - stems[-1]
        for stem in stems[:-1]:
            if not excess.any():
                break
            moved = np.clip(stem + excess, low, high) - stem
            stem += moved
            excess -= moved
        yield stems << shift
        position = end


def write_stems(
    recording: Recording,
    separator: Separator,
    paths: Mapping[str, Path],
    on_progress: Progress | None = None,
) -> None:
    """Write stems, each with the recording's length, rate, channels and bits.

    Files are written whole or not at all. Those of a wav or flac add up to the recording bit for
    bit, but for recordings of 32 bits, of which a flac keeps 24.

    Args:
        recording: the recording.
        separator: takes it apart.
        paths: the file of each stem that is to be written, by the stem's name.
        on_progress: reports the samples that are done.

    Raises:
        InputError: a stem that the separator doesn't have, or a file can't be written.
    """
    check_names(paths, separator)
    dtype = SAMPLE_TYPES[recording.sample_width]
    with ExitStack() as files:
        writers = {
            separator.names.index(name): files.enter_context(writer_like(recording, path))
            for name, path in paths.items()
        }
        position = 0
        for stems in stem_blocks(recording, separator):
            for index, writer in writers.items():
                writer.write(Pcm(stems[index].astype(dtype), recording.sample_rate))
            position += stems.shape[2]
            if on_progress is not None:
                on_progress(position, recording.num_samples)


def remixed(
    recording: Recording,
    separator: Separator,
    gains: Mapping[str, float],
    replaced: Mapping[str, Recording] | None = None,
    warn: Callable[[str], None] = logger.warning,
) -> Generator[Samples]:
    """The recording with other gains of its stems, in blocks of its own sample type.

    Without a change it is the recording bit for bit. Where it exceeds full scale it clips, which is
    told at the end.

    Args:
        recording: the recording.
        separator: takes it apart.
        gains: factors by the stem's name; 0 mutes it, and stems that aren't named keep theirs.
        replaced: recordings that take the place of stems, with the same length, rate, channels and
            bits.
        warn: told that it clips.

    Raises:
        InputError: a stem that the separator doesn't have, or a gain that isn't 0 or within
            ± `MAX_GAIN_DB`.
    """
    check_gains(gains, separator)
    replaced = replaced or {}
    check_names(replaced, separator)
    position = 0
    factors = np.array([gains.get(name, 1.0) for name in separator.names])
    is_changed = factors != 1
    dtype = SAMPLE_TYPES[recording.sample_width]
    full_scale = 2 ** (8 * recording.sample_width - 1)
    step = 256 if recording.bits == 24 else 1
    clipping = Clipping()
    for stems in stem_blocks(recording, separator):
        end = position + stems.shape[2]
        for name, other in replaced.items():
            stems[separator.names.index(name)] = other.samples(position, end)
        position = end
        changed = np.tensordot(factors[is_changed], stems[is_changed], axes=1)
        mix = stems[~is_changed].sum(axis=0) + np.rint(changed / step).astype(np.int64) * step
        clipping.add(mix, full_scale)
        yield np.clip(mix, -full_scale, full_scale - step).astype(dtype)
    if remark := clipping.remark("the remix", "lower all gains by that much to keep its peaks"):
        warn(remark)


def write_remix(
    recording: Recording,
    separator: Separator,
    gains: Mapping[str, float],
    path: Path,
    on_progress: Progress | None = None,
) -> None:
    """Write a remix with the recording's length, rate, channels and bits, whole or not at all.

    Raises:
        InputError: as `remixed`, or the file can't be written.
    """
    check_gains(gains, separator)
    position = 0
    with writer_like(recording, path) as writer:
        for block in remixed(recording, separator, gains):
            writer.write(Pcm(block, recording.sample_rate))
            position += block.shape[1]
            if on_progress is not None:
                on_progress(position, recording.num_samples)


def check_names(names: Iterable[str], separator: Separator, *, field: str | None = None) -> None:
    """Check that a separator has stems of these names.

    Args:
        names: of stems.
        separator: the separator.
        field: the field or option that holds the names, for the message.

    Raises:
        InputError: it has no such stem; the message lists those that it has.
    """
    for name in names:
        if name not in separator.names:
            raise InputError(
                f"{name!r} is not a stem; use {', '.join(separator.names)}", field=field
            )


def check_gains(gains: Mapping[str, float], separator: Separator) -> None:
    """Check factors by the stem's name.

    Raises:
        InputError: as `check_names`, or a gain that isn't 0 or within ± `MAX_GAIN_DB`.
    """
    check_names(gains, separator)
    limit = 10 ** (MAX_GAIN_DB / 20) * (1 + 1e-9)
    for name, gain in gains.items():
        if gain != 0 and not 1 / limit <= gain <= limit:
            raise InputError(
                f"the gain {gain:g} of {name} must be 0, or from -{MAX_GAIN_DB:g} to "
                f"{MAX_GAIN_DB:g} dB"
            )
