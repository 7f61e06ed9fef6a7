"""The edited recording: kept parts are copied bit for bit, new parts are joined to them.

    recording  ────────kept────────┐ replaced ┌────────kept────────
    new                            └╲──────╱──┘
                                   join   join

A join is a crossfade, at most 20 ms long, between a new part and the recording's own sound as it
continues beside the kept part. So a join is in the new part, and no kept sample changes. Beyond the
recording's end (or before its start) there is no such sound. There, the new part's first (or last)
samples are faded into the recording's own last (or first) ones, and the result is shorter than its
parts by the join.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from riffusion.audio.effects import crossfaded
from riffusion.audio.pcm import (
    SAMPLE_TYPES,
    Pcm,
    Samples,
    rounded_to_24_bits,
    samples_from_waveform,
    waveform_from_samples,
)
from riffusion.audio.recording import Recording
from riffusion.audio.tags import Tags
from riffusion.audio.waveform import Waveform, as_waveform
from riffusion.audio.writer import AudioWriter
from riffusion.editing.clipping import Clipping, remark_on_new_sound
from riffusion.errors import InputError

logger = logging.getLogger(__name__)

MAX_JOIN_S = 0.02
"""Longest join in seconds."""
_BLOCK = 2**16
"""Samples that are copied at once."""


@dataclass(frozen=True)
class Kept:
    """Samples of the recording from `start` up to `stop`."""

    start: int
    stop: int


@dataclass(frozen=True, eq=False)
class New:
    """New audio at the recording's rate.

    Args:
        audio: a waveform (channels, samples), or waveforms that follow each other without a gap;
            an iterator is consumed while the recording is being written.
        join_s: length of its joins in seconds, from 0 to `MAX_JOIN_S`; shorter where there is not
            as much sound.
    """

    audio: Waveform | Iterable[Waveform]
    join_s: float = MAX_JOIN_S


Part = Kept | New


def replacing(recording: Recording, start: int, stop: int, new: New) -> list[Part]:
    """The parts of a recording whose samples from `start` up to `stop` are replaced.

    Raises:
        InputError: the region is reversed, or not inside the recording.
    """
    if not 0 <= start <= stop <= recording.num_samples:
        raise InputError(
            f"start={start}, stop={stop} must be a region inside the recording of "
            f"{recording.num_samples} samples"
        )
    before = [Kept(0, start)] if start > 0 else []
    after = [Kept(stop, recording.num_samples)] if stop < recording.num_samples else []
    return [*before, new, *after]


def check_parts(recording: Recording, parts: Sequence[Part]) -> None:
    """Check parts before the work begins.

    Raises:
        InputError: no parts, a kept part that is empty, reversed or outside the recording, a new
            part with other channels or without samples, or a join that is too long.
    """
    if not parts:
        raise InputError("parts is empty; at least one part is needed")
    for part in parts:
        if isinstance(part, New):
            if not 0 <= part.join_s <= MAX_JOIN_S:
                raise InputError(f"join_s={part.join_s} must be from 0 to {MAX_JOIN_S} seconds")
            if isinstance(part.audio, np.ndarray):
                _checked(part.audio, recording)
                if part.audio.shape[1] == 0:
                    raise _empty()
        elif not 0 <= part.start < part.stop <= recording.num_samples:
            raise InputError(
                f"start={part.start}, stop={part.stop} of a kept part must be a region inside the "
                f"recording of {recording.num_samples} samples"
            )


def spliced(
    recording: Recording, parts: Sequence[Part], warn: Callable[[str], None] = logger.warning
) -> Iterator[Samples]:
    """The edited recording in blocks of its own sample type, (channels, samples) each.

    New samples are rounded to the recording's bits and clip at full scale, which is told at the
    end. Parts of the same kind that follow each other are joined as they are.

    Args:
        recording: the recording.
        parts: what the edited one consists of.
        warn: told that new sound clips.

    Raises:
        InputError: as `check_parts`, or a new sample isn't finite.
    """
    check_parts(recording, parts)
    splice = _Splice(recording)
    neighbours = [None, *parts, None]
    for part, before, after in zip(parts, neighbours, neighbours[2:], strict=False):
        if isinstance(part, Kept):
            blocks = splice.kept(part, after)
        else:
            blocks = splice.new(part, before, after)
        yield from (block for block in blocks if block.shape[1])
    if remark := remark_on_new_sound(splice.clipping):
        warn(remark)


def write_spliced(
    recording: Recording,
    parts: Sequence[Part],
    path: str | Path,
    tags: Tags | None = None,
    warn: Callable[[str], None] = logger.warning,
) -> int:
    """Write the edited recording; the file is written whole or not at all.

    A wav or flac has the recording's rate, channels and bits, but for 32 bits in a flac, which
    become 24. Other formats are encoded as usual.

    Args:
        recording, parts, warn: see `spliced`.
        path: the file; its extension decides the format.
        tags: of the file; default: the recording's.

    Returns:
        Samples per channel, at the recording's rate.

    Raises:
        InputError: as `spliced`, or the file can't be written.
    """
    check_parts(recording, parts)
    num_samples = 0
    with writer_like(recording, path, tags) as writer:
        for block in spliced(recording, parts, warn):
            writer.write(Pcm(block, recording.sample_rate))
            num_samples += block.shape[1]
    return num_samples


def writer_like(recording: Recording, path: str | Path, tags: Tags | None = None) -> AudioWriter:
    """A writer of files with a recording's rate, channels and bits, whole or not at all.

    It takes `Pcm` of the recording's sample type. Tags are the recording's by default.

    Raises:
        InputError: unknown extension, or the file can't be written.
    """
    dtype = SAMPLE_TYPES[recording.sample_width]
    like = Pcm(np.zeros((recording.num_channels, 0), dtype), recording.sample_rate)
    tags = recording.tags if tags is None else tags
    return AudioWriter(path, like, bits=recording.bits, is_whole=True, tags=tags)


class _Splice:
    """The samples of one part after the other.

    Kept samples at the very end of the recording are held back, as a new part may be faded into
    them; samples at its very start can be in a join already when their part follows.
    """

    def __init__(self, recording: Recording) -> None:
        self._recording = recording
        self.clipping = Clipping()
        self._held = recording.samples(0, 0)
        self._num_joined = 0  # samples of the following kept part that are in a join already

    def kept(self, part: Kept, after: Part | None) -> Iterator[Samples]:
        recording = self._recording
        start, stop = part.start + self._num_joined, part.stop
        end = stop
        if isinstance(after, New) and stop == recording.num_samples:
            end = max(start, stop - _join_length(after, recording))
        for position in range(start, end, _BLOCK):
            yield recording.samples(position, min(position + _BLOCK, end))
        self._held = recording.samples(end, stop)
        self._num_joined = 0

    def new(self, part: New, before: Part | None, after: Part | None) -> Iterator[Samples]:
        waveforms = _waveforms(part, self._recording)
        length = _join_length(part, self._recording)
        pending = _at_least(waveforms, max(1, 2 * length), self._recording.num_channels)
        if pending.shape[1] == 0:
            raise _empty()
        length = min(length, pending.shape[1] // 2)  # shorter if these are all samples
        if isinstance(before, Kept):
            held, sound = self._sound_after(before, length)
            yield held
            count = sound.shape[1]
            yield self._rounded(crossfaded(sound, pending[:, :count]))
            pending = pending[:, count:]
        count, sound = 0, np.zeros((self._recording.num_channels, 0), np.float32)
        if isinstance(after, Kept):
            sound = self._sound_before(after, length)
            count = sound.shape[1]
        for waveform in waveforms:
            yield self._rounded(pending[:, : pending.shape[1] - count])
            pending = np.concatenate([pending[:, pending.shape[1] - count :], waveform], axis=1)
        yield self._rounded(pending[:, : pending.shape[1] - count])
        yield self._rounded(crossfaded(pending[:, pending.shape[1] - count :], sound))

    def _sound_after(self, part: Kept, length: int) -> tuple[Samples, Waveform]:
        """Held samples that stay as they are, and the sound that fades out."""
        recording = self._recording
        if part.stop == recording.num_samples:
            split = max(0, self._held.shape[1] - length)
            return self._held[:, :split], waveform_from_samples(self._held[:, split:])
        stop = min(part.stop + length, recording.num_samples)
        return recording.samples(0, 0), recording.waveform(part.stop, stop)

    def _sound_before(self, part: Kept, length: int) -> Waveform:
        """The sound that fades in."""
        if part.start == 0:
            self._num_joined = min(length, part.stop)
            return self._recording.waveform(0, self._num_joined)
        return self._recording.waveform(max(0, part.start - length), part.start)

    def _rounded(self, waveform: Waveform) -> Samples:
        self.clipping.add(waveform)
        samples = samples_from_waveform(waveform, self._recording.sample_width)
        return rounded_to_24_bits(samples) if self._recording.bits == 24 else samples


def _join_length(part: New, recording: Recording) -> int:
    """Samples of a join, rounded down so that none exceeds the limit."""
    return int(part.join_s * recording.sample_rate)


def _waveforms(part: New, recording: Recording) -> Iterator[Waveform]:
    """The new audio in blocks, checked."""
    audio = [part.audio] if isinstance(part.audio, np.ndarray) else part.audio
    for whole in audio:
        waveform = _checked(whole, recording)
        for start in range(0, waveform.shape[1], _BLOCK):
            yield waveform[:, start : start + _BLOCK]


def _at_least(waveforms: Iterator[Waveform], length: int, num_channels: int) -> Waveform:
    """The next samples, at least `length`, or all that are left."""
    joined = np.zeros((num_channels, 0), np.float32)
    while joined.shape[1] < length and (waveform := next(waveforms, None)) is not None:
        joined = np.concatenate([joined, waveform], axis=1)
    return joined


def _checked(audio: Waveform, recording: Recording) -> Waveform:
    waveform = as_waveform(audio)
    if len(waveform) != recording.num_channels:
        raise InputError(
            f"a new part has {len(waveform)} channels, the recording has "
            f"{recording.num_channels}; convert it with with_channels(waveform, "
            f"{recording.num_channels})"
        )
    return waveform


def _empty() -> InputError:
    return InputError("a new part has no samples; leave it out to cut a region out")
