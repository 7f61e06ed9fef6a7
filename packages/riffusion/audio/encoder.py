"""FFmpeg's encoders and muxers, by PyAV: the settings for a format, and a running encoder."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from types import TracebackType
from typing import Any, Protocol, Self

import av
import numpy as np
import numpy.typing as npt
from av.stream import Disposition

from riffusion.audio.formats import LOSSY_CODECS, AudioFileFormat
from riffusion.audio.pcm import Pcm, rounded_to_24_bits
from riffusion.audio.tags import FRONT_COVER, NO_TAGS, Picture, Tags
from riffusion.errors import InputError, MediaError

_LAYOUTS = {1: "mono", 2: "stereo", 3: "3.0", 4: "quad", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1"}
_CHUNK = 2**15
"""Samples per call of the encoder."""

_MAX_ANY_FLAC_RATE_HZ = 2**16 - 1
"""Above it, a FLAC frame's header has the rate in tens of Hz (RFC 9639, section 9.1.2)."""
_ENCODERS_OF_24_BITS = ("flac", "pcm_s24le")
"""They take samples of 32 bits."""

_QUICK_MP3 = {"compression_level": "7"}
"""LAME without its search for the least audible noise, in three fifths of the time. With 128 kbit/s
and more per channel it finds about the same: noise in a third of an octave and 46 ms is 49.3 dB
below the signal in the median of 32 drawn clips, and 49.6 dB after the default search of level 3;
25.4 and 26.1 dB in the worst hundredth. A faint octave below 125 Hz may lose 8 dB."""
_PLENTY_KBPS_PER_CHANNEL = 128

_MUXERS_OF_PICTURES = ("flac", "mp3")
"""They take a cover as a stream."""

Array = npt.NDArray[np.float32] | npt.NDArray[np.int16] | npt.NDArray[np.int32]


class Target(Protocol):
    """Where an encoder writes its bytes; with a `seek` method, headers are completed at the end."""

    def write(self, data: bytes, /) -> int | None: ...


@dataclass(frozen=True)
class Encoding:
    """FFmpeg's settings for one file.

    Args:
        muxer, encoder, sample_format: FFmpeg's names.
        rate_hz, num_channels: of the encoder's input and of the file.
        bitrate_kbps: for a lossy format; None for a lossless one.
        muxer_options: FFmpeg's options of the muxer.
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
        """FFmpeg's name for the channel layout."""
        return _LAYOUTS[self.num_channels]

    @property
    def encoder_options(self) -> dict[str, str]:
        """FFmpeg's options of the encoder."""
        has_plenty = (self.bitrate_kbps or 0) >= _PLENTY_KBPS_PER_CHANNEL * self.num_channels
        quick = _QUICK_MP3 if self.muxer == "mp3" and has_plenty else {}
        return {"flags": "+bitexact", **quick}

    @classmethod
    def of(
        cls,
        format: AudioFileFormat,
        like: Pcm,
        bitrate_kbps: int | None = None,
        bits: int | None = None,
    ) -> Self:
        """The settings of a format for audio of `like`'s rate, channels and sample width.

        Args:
            format: of the file.
            like: any audio of that kind.
            bitrate_kbps: for a lossy format; None for its default.
            bits: 24 for a wav of 24 bits from samples of 32 bits; else `like` decides.

        Raises:
            InputError: the bit rate or the number of channels is not allowed.
        """
        codec = LOSSY_CODECS.get(format)
        if codec is None:
            return cls._lossless(format, like, bitrate_kbps, bits)
        low, high = codec.bitrate_range_kbps
        if bitrate_kbps is not None and not low <= bitrate_kbps <= high:
            raise InputError(
                f"bitrate_kbps={bitrate_kbps} must be from {low} to {high} for {format}"
            )
        rate = codec.nearest_rate_hz(like.sample_rate)
        muxer_options = {}
        if codec.muxer == "ipod":  # unit of the edit list; by default a millisecond
            muxer_options["movie_timescale"] = str(rate)
        if codec.muxer == "ogg":  # in µs; by default, a damaged page loses a whole second
            muxer_options["page_duration"] = "200000"
        if codec.muxer == "mp3":  # more players read 2.3 than the default, 2.4
            muxer_options["id3v2_version"] = "3"
        return cls(
            codec.muxer,
            codec.encoder,
            codec.sample_format,
            rate,
            min(like.num_channels, 2),
            bitrate_kbps or codec.bitrate_kbps,
            muxer_options,
        )

    @classmethod
    def _lossless(
        cls, format: AudioFileFormat, like: Pcm, bitrate_kbps: int | None, bits: int | None
    ) -> Self:
        if bitrate_kbps is not None:
            raise InputError(
                f"bitrate_kbps={bitrate_kbps} does not apply to the lossless format {format}; "
                "leave it out, or use mp3, ogg or m4a"
            )
        if like.num_channels not in _LAYOUTS:
            raise InputError(
                f"channels={like.num_channels} must be from 1 to {max(_LAYOUTS)} for {format}; "
                "mix down with with_channels(waveform, 2) or convert(segment, channels=2)"
            )
        rate = like.sample_rate
        if format == "flac" and rate > _MAX_ANY_FLAC_RATE_HZ and rate % 10:
            raise InputError(
                f"sample_rate={rate} must be a multiple of 10 Hz above {_MAX_ANY_FLAC_RATE_HZ} Hz "
                "for flac; write a wav, or resample first"
            )
        sample_format = "s16" if like.sample_width <= 2 else "s32"
        is_24_bits = bits == 24 and sample_format == "s32"
        pcm = "pcm_s24le" if is_24_bits else f"pcm_{sample_format}le"
        encoder = "flac" if format == "flac" else pcm
        # By default, 8 KiB of zeros leave room for editing the tags later.
        muxer_options = {"metadata_header_padding": "0"} if format == "flac" else {}
        return cls(
            format,
            encoder,
            sample_format,
            like.sample_rate,
            like.num_channels,
            muxer_options=muxer_options,
        )

    def data_from(self, pcm: Pcm) -> Array:
        """The samples as the encoder takes them, (channels, samples); nothing is resampled."""
        if self.bitrate_kbps is not None:
            return pcm.waveform
        if self.sample_format == "s16":
            data = pcm.samples.astype(np.int16, copy=False)
            return data << 8 if pcm.sample_width == 1 else data
        wide = pcm.samples.astype(np.int32, copy=False)
        return rounded_to_24_bits(wide) if self.encoder in _ENCODERS_OF_24_BITS else wide


class Encoder:
    """A running encoder and muxer; a context manager that completes the file when it exits.

    Args:
        target: receives the bytes.
        encoding: FFmpeg's settings.
        tags: texts such as title, artist, comment, and a cover. A wav has no cover, and an m4a gets
            it afterwards (`m4a_cover`); so does a wav the chunks of another one (`wav_chunks`).

    Attributes:
        num_samples: samples per channel encoded so far.

    Raises:
        MediaError: FFmpeg doesn't accept the settings.
    """

    def __init__(self, target: Target, encoding: Encoding, tags: Tags = NO_TAGS) -> None:
        self._encoding = encoding
        self.num_samples = 0
        options = {"fflags": "+bitexact", **encoding.muxer_options}
        try:
            self._container = av.open(target, "w", format=encoding.muxer, options=options)
            self._container.metadata.update(_texts(tags, encoding.muxer))
            stream = self._container.add_stream(
                encoding.encoder,
                rate=encoding.rate_hz,
                options=encoding.encoder_options,
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
        if tags.picture is not None and encoding.muxer in _MUXERS_OF_PICTURES:
            self._add_picture(tags.picture)  # opens the encoder, with the bit rate

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
        """Write the encoder's last packets and complete the file."""
        try:
            self._mux(None)
        finally:
            try:
                self._container.close()
            except av.FFmpegError as error:
                raise self._failure(error) from error

    def _add_picture(self, picture: Picture) -> None:
        """Add a cover. FFmpeg writes it before the audio, once it has it."""
        stream = self._container.add_mux_stream(
            picture.codec, width=picture.width, height=picture.height
        )
        stream.disposition = Disposition.attached_pic
        stream.metadata["comment"] = FRONT_COVER
        packet = av.Packet(picture.data)
        packet.stream = stream
        packet.pts = packet.dts = 0
        try:
            self._container.mux_one(packet)
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


def _texts(tags: Tags, muxer: str) -> Mapping[str, str]:
    """The texts that FFmpeg writes."""
    if muxer == "wav" and tags.wav_chunks:
        return {}
    if muxer == "ogg" and tags.picture is not None:
        return {**tags.texts, **tags.picture.vorbis_comment}
    return tags.texts


def audio_frames(data: Array, encoding: Encoding, start: int = 0) -> Iterator[av.AudioFrame]:
    """Split (channels, samples) into FFmpeg's frames; the first one starts at sample `start`."""
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
