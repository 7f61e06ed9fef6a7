"""Writes an audio file part by part, so that memory use stays small however long the file is.

If an exception or a full disk ends the writing, everything written so far can still be played,
unless the file is to be written whole or not at all. mp3, ogg and flac can be cut off anywhere; the
header of a wav is completed in place at the end; an m4a is written in fragments, each of which can
be played, and becomes an ordinary file at the end.
"""

import dataclasses
import logging
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

import av
import numpy as np

from riffusion.audio.encoder import Encoder, Encoding, audio_frames
from riffusion.audio.formats import format_from_path
from riffusion.audio.m4a_cover import next_atom, with_cover
from riffusion.audio.mp3_padding import ID3_HEADER_BYTES, id3_length, with_exact_padding
from riffusion.audio.pcm import Pcm
from riffusion.audio.segments import AudioSegment, pcm_from_audio
from riffusion.audio.tags import NO_TAGS, Picture, Tags
from riffusion.audio.wav_chunks import HEAD_BYTES, append_chunks
from riffusion.audio.waveform import Audio, Waveform
from riffusion.errors import InputError, MediaError, StorageError
from riffusion.io.files import check_output_path, replaced_file

logger = logging.getLogger(__name__)

_GROWING: dict[str, dict[str, str]] = {
    "ipod": {
        "movflags": "+hybrid_fragmented+delay_moov",
        "frag_duration": "5000000",
    },  # microseconds
    "wav": {"rf64": "auto"},  # beyond 4 GiB
}
"""Options of FFmpeg's muxers for files whose final length isn't known."""
_MP3_HEAD_BYTES = 4096
"""Longer than the first frame of an mp3."""
_ATOM_HEAD_BYTES = 16


class AudioWriter:
    """Appends audio to a file; a context manager that completes the file when it exits.

    The same parts give the same bytes. The file lasts as long as all parts together: the resampler
    that some formats need keeps its state from one part to the next. Waveforms are rounded to 16
    bits; samples of 32 bits are rounded to 24 in a flac.

    Args:
        path: the extension decides the format. An existing file is replaced immediately.
        like: audio with the sample rate, channels and sample width that all parts will have.
        bits: 24 for a wav of 24 bits, which samples of 32 bits are rounded to.
        is_whole: write the file whole or not at all: only a file that is complete replaces an
            existing one, and an exception leaves nothing.
        tags: texts, a cover, and chunks for a wav.

    Raises:
        InputError: unknown extension, or the file can't be written.
    """

    def __init__(
        self,
        path: str | Path,
        like: Audio | AudioSegment | Pcm,
        *,
        bits: int | None = None,
        is_whole: bool = False,
        tags: Tags = NO_TAGS,
    ) -> None:
        self.path = Path(path)
        self._tags = tags
        self._like = pcm_from_audio(like)
        self._is_whole = is_whole
        encoding = Encoding.of(format_from_path(self.path), self._like, bits=bits)
        options = {**encoding.muxer_options, **_GROWING.get(encoding.muxer, {})}
        self._encoding = dataclasses.replace(encoding, muxer_options=options)
        self._num_samples = 0
        check_output_path(self.path)
        self._files = ExitStack()
        try:
            file = self._files.enter_context(
                replaced_file(self.path) if is_whole else self.path.open("w+b", buffering=0)
            )
        except OSError as error:
            raise self._failure(error) from error
        # An m4a that can't be completed keeps its fragments.
        self._target = _Target(file, is_completed_in_place=encoding.muxer != "ipod")
        try:
            self._encoder = Encoder(self._target, self._encoding, tags)
        except BaseException as error:
            self._files.__exit__(type(error), error, error.__traceback__)
            raise
        self._resampler: _Resampler | None = None
        if self._like.sample_rate != encoding.rate_hz:
            self._resampler = _Resampler(self._like.sample_rate, encoding)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is None or not self._is_whole:
            self.close()
            return
        with suppress(MediaError):
            self._encoder.close()
        self._files.__exit__(kind, error, traceback)

    @property
    def duration_s(self) -> float:
        """Duration of all parts so far, in seconds."""
        return self._num_samples / self._like.sample_rate

    def write(self, segment: Audio | AudioSegment | Pcm) -> None:
        """Append audio.

        Raises:
            InputError: its sample rate, channels or sample width differ from those of `like`, or
                the file can't be extended; its contents are kept unless it is whole or nothing.
        """
        pcm = pcm_from_audio(segment)
        if pcm.format != self._like.format:
            raise InputError(
                f"audio of {pcm.format} follows audio of {self._like.format}; convert it to the "
                "same format first (convert, or resample and with_channels)"
            )
        self._num_samples += pcm.num_samples
        pcm = pcm.converted(pcm.sample_rate, self._encoding.num_channels)
        if self._resampler is None:
            self._encoder.encode(self._encoding.data_from(pcm))
        else:
            self._encoder.encode(self._resampler.push(pcm.waveform))
        self._check()

    def close(self) -> None:
        """Complete the file.

        Raises:
            InputError: the file can't be extended; its contents are kept unless it is whole or
                nothing.
        """
        try:
            with self._files:
                self._complete()
        except OSError as error:
            raise self._failure(error) from error

    def _complete(self) -> None:
        if self._resampler is not None:
            total = round(self._num_samples * self._encoding.rate_hz / self._like.sample_rate)
            self._encoder.encode(self._resampler.rest(total - self._encoder.num_samples))
        self._encoder.close()
        if self._target.error is None and self._target.seekable():
            self._correct_file()
        self._check()

    def _correct_file(self) -> None:
        """Write what FFmpeg's muxer doesn't, or writes wrongly, into the complete file."""
        muxer, tags = self._encoding.muxer, self._tags
        if muxer == "mp3":
            self._correct_padding()
        elif muxer == "wav" and tags.wav_chunks:
            head = self._target.bytes_at(0, HEAD_BYTES)
            append_chunks(self._target, tags.wav_chunks, head, self._target.length)
        elif muxer == "ipod" and tags.picture is not None:
            self._add_cover(tags.picture)

    def _correct_padding(self) -> None:
        target = self._target
        start = id3_length(target.bytes_at(0, ID3_HEADER_BYTES))
        head = target.bytes_at(start, _MP3_HEAD_BYTES)
        target.seek(start)
        target.write(with_exact_padding(head, self._encoder.num_samples, self._encoding.rate_hz))

    def _add_cover(self, picture: Picture) -> None:
        target, at, is_added = self._target, 0, False
        while at < target.length:
            name, size = next_atom(target.bytes_at(at, _ATOM_HEAD_BYTES))
            if name == b"moov" and at + size == target.length:
                moov = with_cover(target.bytes_at(at, size), picture)
                target.seek(at)
                target.write(moov)
                is_added = True
            at += size or target.length
        if not is_added:
            logger.warning("%s gets no cover: its index isn't at its end", self.path)

    def _check(self) -> None:
        if self._target.error is not None:
            raise self._failure(self._target.error)

    def _failure(self, error: OSError) -> StorageError:
        return StorageError(
            f"path={str(self.path)!r} cannot be written ({error.strerror}); "
            "make room there, or choose another place"
        )


class _Target:
    """A file that records its first write error and hides it from FFmpeg.

    After an error FFmpeg would write nothing more, not even the header that it completes in place
    at the end. So bytes that no longer fit are dropped silently.

    Args:
        file: an unbuffered file.
        is_completed_in_place: whether, after an error, writing to existing parts of the file
            continues.

    Attributes:
        error: the first error, or None.
    """

    def __init__(self, file: BinaryIO, is_completed_in_place: bool) -> None:
        self.file = file
        self._is_completed_in_place = is_completed_in_place
        self.error: OSError | None = None
        self._position = 0
        self._end = 0

    def write(self, data: bytes) -> int:
        if self.error is None:
            self._write(data)
        elif self._is_completed_in_place and self._position < self._end:
            self._write(data[: self._end - self._position])
        self._position += len(data)
        return len(data)

    def seekable(self) -> bool:
        return self.file.seekable()

    def seek(self, offset: int, whence: int = 0) -> int:
        base = {0: 0, 1: self._position, 2: self._end}[whence]
        self._position = base + offset
        return self._position

    def tell(self) -> int:
        return self._position

    @property
    def length(self) -> int:
        """Bytes of the file."""
        return self._end

    def bytes_at(self, offset: int, size: int) -> bytes:
        """Bytes that were written."""
        self.file.seek(offset)
        return self.file.read(size)

    def _write(self, data: bytes) -> None:
        try:
            if self.seekable():
                self.file.seek(self._position)
            rest = memoryview(data)
            while rest:
                written = self.file.write(rest)
                rest = rest[written:]
                self._end = max(self._end, self._position + len(data) - len(rest))
        except OSError as error:
            self.error = self.error or error


class _Resampler:
    """FFmpeg's streaming resampler, from waveforms at one rate to an encoder's input."""

    def __init__(self, rate_hz: int, encoding: Encoding) -> None:
        self._source = dataclasses.replace(encoding, rate_hz=rate_hz)
        self._num_channels = encoding.num_channels
        self._is_planar = encoding.sample_format.endswith("p")
        self._num_pushed = 0
        self._resampler = av.AudioResampler(
            encoding.sample_format, encoding.layout, encoding.rate_hz
        )

    def push(self, waveform: Waveform) -> Waveform:
        """Add (channels, samples) at the input; returns (channels, samples) at the output rate."""
        frames = audio_frames(waveform, self._source, self._num_pushed)
        self._num_pushed += waveform.shape[1]
        return self._joined(out for frame in frames for out in self._resampler.resample(frame))

    def rest(self, length: int) -> Waveform:
        """The last `length` samples, padded or cut where rounding leaves a sample more or less."""
        data = self._joined(iter(self._resampler.resample(None)))[:, :length]
        missing = np.zeros((self._num_channels, length - data.shape[1]), dtype=np.float32)
        return np.concatenate([data, missing], axis=1)

    def _joined(self, frames: Iterator[av.AudioFrame]) -> Waveform:
        parts: list[Waveform] = [np.zeros((self._num_channels, 0), dtype=np.float32)]
        for frame in frames:
            array = np.asarray(frame.to_ndarray(), dtype=np.float32)
            parts.append(array if self._is_planar else array.reshape(-1, self._num_channels).T)
        return np.concatenate(parts, axis=1)
