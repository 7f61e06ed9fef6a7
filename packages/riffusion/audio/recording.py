"""A recording of any length, decoded into a temporary file; memory doesn't depend on its length."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from riffusion.audio.blocks import CHANGE_BLOCK, Limits, MemoryPart
from riffusion.audio.decoded_integers import widened
from riffusion.audio.decoding import MAX_BYTES, MAX_SAMPLES
from riffusion.audio.pcm import Pcm, Samples, waveform_from_samples
from riffusion.audio.sample_file import FilePart, SampleFile
from riffusion.audio.streams import Stream, decode_streams
from riffusion.audio.tag_reading import read_tags
from riffusion.audio.tags import NO_TAGS, Tags
from riffusion.audio.waveform import Waveform
from riffusion.errors import InputError

_MAX_CHANNELS = 2
_LOW_BYTE = 0xFF


class Recording:
    """A decoded recording in mono or stereo; a context manager that deletes its temporary file.

        with Recording.open("song.flac") as recording:
            first_second = recording.waveform(0, recording.sample_rate)

    Several threads may read it at the same time. `open` makes one, and so does `from_blocks`.

    Attributes:
        sample_rate: in Hz.
        num_channels: 1 or 2.
        num_samples: samples per channel.
        sample_width: bytes of a sample here: 2, or 4 for more than 16 bits.
        bits: bits of a sample in the file: 16 (also for fewer), 24 or 32.
        tags: of the file, if it was opened by its path.
    """

    def __init__(
        self,
        file: SampleFile,
        part: FilePart,
        sample_rate: int,
        bits: int,
        tags: Tags = NO_TAGS,
    ) -> None:
        self._file = file
        self._part = part
        self.sample_rate = sample_rate
        self.num_channels = part.num_channels
        self.num_samples = part.num_samples
        self.sample_width: int = part.dtype.itemsize
        self.bits = bits
        self.tags = tags

    @classmethod
    def open(
        cls,
        source: str | Path | bytes,
        max_duration_s: float | None = None,
        *,
        max_bytes: int = MAX_BYTES,
        max_samples: int = MAX_SAMPLES,
    ) -> Self:
        """Decode a file exactly as `decode_audio` does, into a temporary file.

        The temporary file is in the folder that the environment variable TMPDIR names, or else in
        /var/tmp. It takes 2 or 4 bytes per sample and channel.

        Args:
            source: the path of a file, or its bytes.
            max_duration_s: longest recording allowed, in seconds; None leaves `max_samples` as the
                only limit.
            max_bytes: largest file allowed.
            max_samples: largest number of samples × channels allowed.

        Raises:
            MediaError: as `decode_audio`, or the file has more than two channels.
            InputError: the path isn't a file, or there is no room for the temporary file.
        """
        limits = Limits(max_duration_s, max_samples, _MAX_CHANNELS)
        file = SampleFile()
        try:
            data = source if isinstance(source, bytes) else Path(source)
            streams = decode_streams(data, limits, lambda: FilePart(file), max_bytes)
            tags = NO_TAGS if isinstance(data, bytes) else read_tags(data)
            used_bits = 0
            for stream in streams:
                used_bits |= stream.part.used_bits
            joined, part = _joined(file, streams)
        except BaseException:
            file.close()
            raise
        bits = _bits(part.dtype, used_bits, streams)
        return cls(joined, part, streams[0].rate, bits, tags)

    @classmethod
    def from_blocks(cls, blocks: Iterable[Samples], sample_rate: int, bits: int) -> Self:
        """Write samples into a temporary file, as `open` does.

        Args:
            blocks: (channels, samples) each, all int16 or all int32; at least one.
            sample_rate: in Hz.
            bits: 16, 24 or 32.

        Raises:
            InputError: there is no room for the temporary file.
        """
        file = SampleFile()
        try:
            part = FilePart(file)
            for block in blocks:
                part.append(block)
        except BaseException:
            file.close()
            raise
        return cls(file, part, sample_rate, bits)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Delete the temporary file; the recording can't be read any more."""
        self._file.close()

    @property
    def duration_s(self) -> float:
        return self.num_samples / self.sample_rate

    def samples(self, start: int, stop: int) -> Samples:
        """The file's own samples, (channels, stop - start), int16 or int32; full scale is 2^15 or
        2^31, so 24 bits are the upper ones of 32.

        Raises:
            InputError: the range isn't inside the recording.
        """
        if not 0 <= start <= stop <= self.num_samples:
            raise InputError(
                f"start={start}, stop={stop} is outside the recording of {self.num_samples} samples"
            )
        return self._part.samples(start, stop)

    def waveform(self, start: int, stop: int) -> Waveform:
        """The same as float32 in [-1, 1], (channels, stop - start).

        float32 keeps 16 and 24 bits exactly, and 24 of 32 bits.

        Raises:
            InputError: the range isn't inside the recording.
        """
        return waveform_from_samples(self.samples(start, stop))

    def blocks(self, size: int) -> Iterator[Samples]:
        """All samples in blocks of `size`, (channels, size); the last one may be shorter.

        Raises:
            InputError: `size` is below 1.
        """
        if size < 1:
            raise InputError(f"size={size} must be at least 1")
        for start in range(0, self.num_samples, size):
            yield self.samples(start, min(start + size, self.num_samples))


def decoded_samples(
    data: bytes, *, max_duration_s: float | None, max_samples: int
) -> tuple[Pcm, int]:
    """What `Recording.open` decodes, in memory, and the bits of a sample in the file.

    Raises:
        MediaError: as `Recording.open`.
    """
    limits = Limits(max_duration_s, max_samples, _MAX_CHANNELS)
    streams = decode_streams(data, limits, MemoryPart, MAX_BYTES)
    parts = [stream.part.samples() for stream in streams]
    widest = np.result_type(*parts)
    joined = (
        parts[0] if len(parts) == 1 else np.concatenate([widened(p, widest) for p in parts], axis=1)
    )
    used_bits = 0
    for part in parts:
        if part.dtype == np.int32:
            used_bits |= int(np.bitwise_or.reduce(part, axis=None))
    return Pcm(joined, streams[0].rate), _bits(joined.dtype, used_bits, streams)


def _bits(dtype: np.dtype[Any], used_bits: int, streams: Sequence[Stream[Any]]) -> int:
    """Bits of a sample: as the file says, or as its samples show."""
    if dtype != np.int32:
        return 16
    shown = 24 if not used_bits & _LOW_BYTE else 32
    return max([shown, *(stream.bits or 0 for stream in streams)])


def _joined(file: SampleFile, streams: list[Stream[FilePart]]) -> tuple[SampleFile, FilePart]:
    """The streams of a chain as one part, with the width of the widest.

    Decoding can leave gaps in the file, and other widths, so the samples are copied.
    """
    parts = [stream.part for stream in streams]
    if len(parts) == 1:
        return file, parts[0]
    widest = np.result_type(*(part.dtype for part in parts))
    copy = SampleFile()
    try:
        joined = FilePart(copy)
        for part in parts:
            for start in range(0, part.num_samples, CHANGE_BLOCK):
                stop = min(start + CHANGE_BLOCK, part.num_samples)
                joined.append(widened(part.samples(start, stop), widest))
    except BaseException:
        copy.close()
        raise
    file.close()
    return copy, joined
