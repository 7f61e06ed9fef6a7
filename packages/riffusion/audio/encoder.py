"""FFmpeg's encoders and muxers, by PyAV: what they are asked for, and one at work."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from types import TracebackType
from typing import Any, Protocol, Self

import av
import numpy as np
import numpy.typing as npt

from riffusion.audio.formats import LOSSY_CODECS, AudioFileFormat
from riffusion.audio.segments import AudioSegment, samples_from_segment, waveform_from_segment
from riffusion.errors import InputError, MediaError

_LAYOUTS = {1: "mono", 2: "stereo", 3: "3.0", 4: "quad", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1"}
_CHUNK = 2**15
"""Samples handed to the encoder at once."""

Array = npt.NDArray[np.float32] | npt.NDArray[np.int16] | npt.NDArray[np.int32]


class Target(Protocol):
    """Where an encoder's bytes go; if it has `seek` too, headers are completed at the end."""

    def write(self, data: bytes, /) -> int | None: ...


@dataclass(frozen=True)
class Encoding:
    """What FFmpeg is asked for.

    Args:
        muxer, encoder, sample_format: FFmpeg's names.
        rate_hz, num_channels: what the encoder is given, and the file has.
        bitrate_kbps: of a lossy format.
        muxer_options: FFmpeg's.
    """

    muxer: str
    encoder: str
    sample_format: str
    rate_hz: int
    num_channels: int
    bitrate_kbps: int | None = None
    muxer_options: Mapping[str, str] = field(default_factory=dict)

    @property
    def layout(self) -> str:
        """FFmpeg's name of the channels' arrangement."""
        return _LAYOUTS[self.num_channels]

    @classmethod
    def of(cls, format: AudioFileFormat, like: AudioSegment, bitrate_kbps: int | None) -> Self:
        """The encoding of a format for segments of `like`'s rate, channels and sample width.

        Raises:
            InputError: the bit rate or the number of channels is not allowed.
        """
        codec = LOSSY_CODECS.get(format)
        if codec is None:
            return cls._lossless(format, like, bitrate_kbps)
        low, high = codec.bitrate_range_kbps
        if bitrate_kbps is not None and not low <= bitrate_kbps <= high:
            raise InputError(
                f"bitrate_kbps={bitrate_kbps} must be from {low} to {high} for {format}"
            )
        rate = codec.nearest_rate_hz(like.frame_rate)
        muxer_options = {}
        if codec.muxer == "ipod":  # the edit list is in these units: a millisecond by default
            muxer_options["movie_timescale"] = str(rate)
        if codec.muxer == "ogg":  # microseconds; by default a whole second is lost with a bad page
            muxer_options["page_duration"] = "200000"
        if codec.muxer == "mp3":  # more players read 2.3 than the default 2.4
            muxer_options["id3v2_version"] = "3"
        return cls(
            codec.muxer,
            codec.encoder,
            codec.sample_format,
            rate,
            min(like.channels, 2),
            bitrate_kbps or codec.bitrate_kbps,
            muxer_options,
        )

    @classmethod
    def _lossless(
        cls, format: AudioFileFormat, like: AudioSegment, bitrate_kbps: int | None
    ) -> Self:
        if bitrate_kbps is not None:
            raise InputError(
                f"bitrate_kbps={bitrate_kbps} does not apply to the lossless format {format}; "
                "leave it out, or use mp3, ogg or m4a"
            )
        if like.channels not in _LAYOUTS:
            raise InputError(
                f"segment.channels={like.channels} must be from 1 to {max(_LAYOUTS)} for {format}; "
                "mix down with convert(segment, channels=2)"
            )
        sample_format = "s16" if like.sample_width <= 2 else "s32"
        encoder = "flac" if format == "flac" else f"pcm_{sample_format}le"
        # No room for later edits of the tags: it would be 8 KiB of zeros.
        muxer_options = {"metadata_header_padding": "0"} if format == "flac" else {}
        return cls(
            format,
            encoder,
            sample_format,
            like.frame_rate,
            like.channels,
            muxer_options=muxer_options,
        )

    def data_from(self, segment: AudioSegment) -> Array:
        """(channels, samples) as the encoder takes them; rate and channels are `segment`'s."""
        if self.bitrate_kbps is not None:
            return waveform_from_segment(segment)
        samples = samples_from_segment(segment)
        if self.sample_format == "s16":
            samples = samples.astype(np.int16, copy=False)
            return samples << 8 if segment.sample_width == 1 else samples
        data = samples.astype(np.int32, copy=False)
        if self.encoder == "flac":  # the low byte isn't stored, so round it away
            rounded = (data.astype(np.int64) + 128) >> 8
            data = (np.minimum(rounded, 2**23 - 1) << 8).astype(np.int32)
        return data


class Encoder:
    """An encoder and a muxer at work; a context manager, at whose end the file is complete.

    Args:
        target: gets the bytes.
        encoding: what to ask FFmpeg for.
        tags: such as title, artist, comment.

    Raises:
        MediaError: FFmpeg doesn't take it.
    """

    def __init__(
        self, target: Target, encoding: Encoding, tags: Mapping[str, str] | None = None
    ) -> None:
        self._encoding = encoding
        self.num_samples = 0
        options = {"fflags": "+bitexact", **encoding.muxer_options}
        try:
            self._container = av.open(target, "w", format=encoding.muxer, options=options)
            self._container.metadata.update(tags or {})
            stream = self._container.add_stream(
                encoding.encoder,
                rate=encoding.rate_hz,
                options={"flags": "+bitexact"},
                layout=encoding.layout,
                format=encoding.sample_format,
            )
        except av.FFmpegError as error:
            raise self._failure(error) from error
        if not isinstance(stream, av.AudioStream):  # for the type checker
            raise MediaError(f"encoder={encoding.encoder} does not encode audio")
        if encoding.bitrate_kbps is not None:
            stream.bit_rate = encoding.bitrate_kbps * 1000
        self._stream = stream

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def encode(self, data: Array) -> None:
        """Append (channels, samples)."""
        for frame in audio_frames(data, self._encoding, self.num_samples):
            self._mux(frame)
            self.num_samples += frame.samples

    def close(self) -> None:
        """Write what the encoder still holds, and complete the file."""
        try:
            self._mux(None)
        finally:
            try:
                self._container.close()
            except av.FFmpegError as error:
                raise self._failure(error) from error

    def _mux(self, frame: av.AudioFrame | None) -> None:
        try:
            self._container.mux(self._stream.encode(frame))
        except av.FFmpegError as error:
            raise self._failure(error) from error

    def _failure(self, error: av.FFmpegError) -> MediaError:
        encoding = self._encoding
        return MediaError(
            f"encoder={encoding.encoder} at {encoding.rate_hz} Hz, {encoding.layout}: {error}"
        )


def audio_frames(data: Array, encoding: Encoding, start: int = 0) -> Iterator[av.AudioFrame]:
    """(channels, samples) in FFmpeg's frames, the first one at sample `start`."""
    for offset in range(0, data.shape[1], _CHUNK):
        chunk: npt.NDArray[Any] = data[:, offset : offset + _CHUNK]
        if not encoding.sample_format.endswith("p"):  # packed: one row, channels interleaved
            chunk = chunk.T.reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(chunk), format=encoding.sample_format, layout=encoding.layout
        )
        frame.sample_rate = encoding.rate_hz
        frame.pts = start + offset
        frame.time_base = Fraction(1, encoding.rate_hz)
        yield frame
