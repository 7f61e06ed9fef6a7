"""A sound file that grows: segment after segment is encoded and written, with little memory.

Whatever ends it, an exception or a full disk, what was written can be played. mp3, ogg and flac can
be cut off anywhere; wav is completed in place at the end; m4a is written in fragments, each of
which can be played, and made an ordinary file at the end.
"""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

import av
import numpy as np

from riffusion.audio.encoder import Encoder, Encoding, audio_frames
from riffusion.audio.formats import format_from_path
from riffusion.audio.mp3_padding import with_exact_padding
from riffusion.audio.segments import AudioSegment, Waveform, num_samples, waveform_from_segment
from riffusion.errors import InputError
from riffusion.io.files import check_output_path

_GROWING: dict[str, dict[str, str]] = {
    "ipod": {
        "movflags": "+hybrid_fragmented+delay_moov",
        "frag_duration": "5000000",
    },  # microseconds
    "wav": {"rf64": "auto"},  # beyond 4 GiB
}
"""Options of FFmpeg's muxers for files whose length isn't known."""
_MP3_HEAD_BYTES = 4096
"""Longer than the first frame of an mp3 without tags."""


class AudioWriter:
    """Writes segments of one kind, one after the other; a context manager.

    The same segments give the same bytes. The file lasts as long as all of them together: the
    resampler that some formats need runs on from one to the next.

    Args:
        path: its extension decides the format. What is there is replaced at once.
        like: a segment of the rate, channels and sample width that all will have.

    Raises:
        InputError: unknown extension, or the file can't be written.
    """

    def __init__(self, path: str | Path, like: AudioSegment) -> None:
        self.path = Path(path)
        encoding = Encoding.of(format_from_path(self.path), like, None)
        options = {**encoding.muxer_options, **_GROWING.get(encoding.muxer, {})}
        self._encoding = dataclasses.replace(encoding, muxer_options=options)
        self._kind = _kind(like)
        self._num_samples = 0
        check_output_path(self.path)
        try:
            file = self.path.open("w+b", buffering=0)
        except OSError as error:
            raise self._failure(error) from error
        # An m4a that isn't made an ordinary file keeps its fragments.
        self._target = _Target(file, is_completed_in_place=encoding.muxer != "ipod")
        self._encoder = Encoder(self._target, self._encoding)
        self._resampler: _Resampler | None = None
        if like.frame_rate != encoding.rate_hz:
            self._resampler = _Resampler(like.frame_rate, encoding)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def duration_s(self) -> float:
        """Of all segments so far."""
        return self._num_samples / self._kind[0]

    def write(self, segment: AudioSegment) -> None:
        """Append a segment.

        Raises:
            InputError: it is of another kind, or the file can't be written any further; what is in
                it stays.
        """
        if _kind(segment) != self._kind:
            raise InputError(
                f"segment of {_kind(segment)} (Hz, channels, bytes of a sample) follows one of "
                f"{self._kind}; bring them together with convert(segment, sample_rate=, channels=)"
            )
        self._num_samples += num_samples(segment)
        if self._resampler is None:
            self._encoder.encode(self._encoding.data_from(segment))
        else:
            self._encoder.encode(self._resampler.push(segment))
        self._check()

    def close(self) -> None:
        """Complete the file.

        Raises:
            InputError: it can't be written any further; what is in it stays.
        """
        with self._target.file:
            if self._resampler is not None:
                total = round(self._num_samples * self._encoding.rate_hz / self._kind[0])
                self._encoder.encode(self._resampler.rest(total - self._encoder.num_samples))
            self._encoder.close()
            if self._encoding.muxer == "mp3":
                self._correct_padding()
            self._check()

    def _correct_padding(self) -> None:
        target = self._target
        if target.error is not None or not target.seekable():
            return
        target.seek(0)
        target.file.seek(0)
        head = target.file.read(_MP3_HEAD_BYTES)
        target.write(with_exact_padding(head, self._encoder.num_samples, self._encoding.rate_hz))

    def _check(self) -> None:
        if self._target.error is not None:
            raise self._failure(self._target.error)

    def _failure(self, error: OSError) -> InputError:
        return InputError(
            f"path={str(self.path)!r} cannot be written ({error.strerror}); "
            "make room there, or choose another place"
        )


class _Target:
    """A file whose first error is kept, and hidden from FFmpeg.

    FFmpeg would write nothing more after an error, not even the header that it completes in place
    at the end. So beyond what the file has room for, bytes are dropped.

    Args:
        file: unbuffered.
        is_completed_in_place: whether to go on writing where there is room, after an error.
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
    """FFmpeg's resampler from segments to an encoding's data, as long as they last."""

    def __init__(self, rate_hz: int, encoding: Encoding) -> None:
        self._source = dataclasses.replace(encoding, rate_hz=rate_hz)
        self._num_channels = encoding.num_channels
        self._is_planar = encoding.sample_format.endswith("p")
        self._num_pushed = 0
        self._resampler = av.AudioResampler(
            encoding.sample_format, encoding.layout, encoding.rate_hz
        )

    def push(self, segment: AudioSegment) -> Waveform:
        """What comes out, (channels, samples), when a segment is put in."""
        waveform = waveform_from_segment(segment)
        frames = audio_frames(waveform, self._source, self._num_pushed)
        self._num_pushed += waveform.shape[1]
        return self._joined(out for frame in frames for out in self._resampler.resample(frame))

    def rest(self, length: int) -> Waveform:
        """The last `length` samples: rounding may leave it a sample more or less."""
        data = self._joined(iter(self._resampler.resample(None)))[:, :length]
        missing = np.zeros((self._num_channels, length - data.shape[1]), dtype=np.float32)
        return np.concatenate([data, missing], axis=1)

    def _joined(self, frames: Iterator[av.AudioFrame]) -> Waveform:
        parts: list[Waveform] = [np.zeros((self._num_channels, 0), dtype=np.float32)]
        for frame in frames:
            array = np.asarray(frame.to_ndarray(), dtype=np.float32)
            parts.append(array if self._is_planar else array.reshape(-1, self._num_channels).T)
        return np.concatenate(parts, axis=1)


def _kind(segment: AudioSegment) -> tuple[int, int, int]:
    return segment.frame_rate, segment.channels, segment.sample_width
