"""AudioSegment to bytes, in this process, by the FFmpeg inside PyAV.

Files are gapless: what an encoder adds at either end is recorded in the file (LAME tag, edit list,
pre-skip and granule position), and `decode_audio` takes it off again. The same segment gives the
same bytes: no dates, no encoder versions, no random serial numbers.
"""

import io
from collections.abc import Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt

from riffusion.audio.formats import (
    LOSSY_CODECS,
    AudioFileFormat,
    LossyCodec,
    check_format,
    format_from_path,
)
from riffusion.audio.segments import (
    AudioSegment,
    convert,
    num_samples,
    samples_from_segment,
    waveform_from_segment,
)
from riffusion.errors import InputError, MediaError
from riffusion.media_files import check_place, write_file

_LAYOUTS = {1: "mono", 2: "stereo", 3: "3.0", 4: "quad", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1"}
_CHUNK = 2**15
"""Samples handed to the encoder at once."""

Array = npt.NDArray[np.float32] | npt.NDArray[np.int16] | npt.NDArray[np.int32]


def encode_audio(
    segment: AudioSegment,
    format: AudioFileFormat,
    *,
    bitrate_kbps: int | None = None,
    tags: Mapping[str, str] | None = None,
) -> bytes:
    """Encode a segment; decoding gives back as many samples as went in.

    `wav` keeps 16 and 32 bits, `flac` keeps 16 and rounds 32 to 24; both keep rate and channels.
    The others mix more than two channels to stereo, and resample to the nearest rate that the codec
    has: `ogg` (Opus) always to 48 kHz, `mp3` and `m4a` only from odd rates. One exception to
    gapless: an mp3 of fewer than 47 samples at 24 kHz or less decodes 529 samples too long.

    Args:
        segment: at least one sample of any rate, sample width and channel count.
        format: `mp3`, `wav`, `flac`, `ogg` or `m4a`.
        bitrate_kbps: of a lossy format; default 192 for mp3 and m4a, 128 for ogg.
        tags: such as title, artist, comment.

    Raises:
        InputError: the segment is empty, or the format or the bit rate is not allowed.
    """
    format = check_format(format)
    if num_samples(segment) == 0:
        raise InputError("segment holds no samples; at least one is needed to write a file")
    codec = LOSSY_CODECS.get(format)
    if codec is None:
        if bitrate_kbps is not None:
            raise InputError(
                f"bitrate_kbps={bitrate_kbps} does not apply to the lossless format {format}; "
                "leave it out, or use mp3, ogg or m4a"
            )
        return _encode_lossless(segment, format, tags)
    low, high = codec.bitrate_range_kbps
    if bitrate_kbps is not None and not low <= bitrate_kbps <= high:
        raise InputError(f"bitrate_kbps={bitrate_kbps} must be from {low} to {high} for {format}")
    return _encode_lossy(segment, codec, bitrate_kbps or codec.bitrate_kbps, tags)


def write_audio(
    segment: AudioSegment,
    path: str | Path,
    *,
    bitrate_kbps: int | None = None,
    tags: Mapping[str, str] | None = None,
) -> None:
    """Encode a segment into a file of the format that its extension names.

    The file appears whole or not at all.

    Raises:
        InputError: unknown extension, the file can't be written, or as `encode_audio`.
    """
    path = Path(path)
    format = format_from_path(path)
    check_place(path)
    write_file(encode_audio(segment, format, bitrate_kbps=bitrate_kbps, tags=tags), path)


def _encode_lossless(
    segment: AudioSegment, format: AudioFileFormat, tags: Mapping[str, str] | None
) -> bytes:
    if segment.channels not in _LAYOUTS:
        raise InputError(
            f"segment.channels={segment.channels} must be from 1 to {max(_LAYOUTS)} for {format}; "
            "mix down with convert(segment, channels=2)"
        )
    samples = samples_from_segment(segment)
    data: Array
    if segment.sample_width == 1:
        data = samples.astype(np.int16) << 8
    elif segment.sample_width == 2:
        data = samples.astype(np.int16, copy=False)
    else:
        data = samples.astype(np.int32, copy=False)
        if format == "flac":  # the low byte isn't stored, so round it away
            rounded = (data.astype(np.int64) + 128) >> 8
            data = (np.minimum(rounded, 2**23 - 1) << 8).astype(np.int32)
    sample_format = "s16" if data.dtype == np.int16 else "s32"
    encoder = "flac" if format == "flac" else f"pcm_{sample_format}le"
    # No room for later edits of the tags: it would be 8 KiB of zeros.
    muxer_options = {"metadata_header_padding": "0"} if format == "flac" else {}
    return _mux(data, segment.frame_rate, format, encoder, sample_format, None, tags, muxer_options)


def _encode_lossy(
    segment: AudioSegment, codec: LossyCodec, bitrate_kbps: int, tags: Mapping[str, str] | None
) -> bytes:
    rate = codec.nearest_rate_hz(segment.frame_rate)
    segment = convert(segment, sample_rate=rate, channels=min(segment.channels, 2))
    data = waveform_from_segment(segment)
    muxer_options = {}
    if codec.muxer == "ipod":  # the edit list is in these units: a millisecond by default
        muxer_options["movie_timescale"] = str(rate)
    if codec.muxer == "ogg":  # microseconds; by default a whole second is lost with a damaged page
        muxer_options["page_duration"] = "200000"
    if codec.muxer == "mp3":  # more players read 2.3 than the default 2.4
        muxer_options["id3v2_version"] = "3"
    encoded = _mux(
        data,
        rate,
        codec.muxer,
        codec.encoder,
        codec.sample_format,
        bitrate_kbps,
        tags,
        muxer_options,
    )
    if codec.muxer == "mp3":
        return _with_exact_padding(encoded, data.shape[1], 1152 if rate >= 32000 else 576)
    return encoded


def _mux(
    data: Array,
    rate: int,
    muxer: str,
    encoder: str,
    sample_format: str,
    bitrate_kbps: int | None,
    tags: Mapping[str, str] | None,
    muxer_options: Mapping[str, str],
) -> bytes:
    """Run (channels, samples) through an encoder and a muxer."""
    buffer = io.BytesIO()
    options = {"fflags": "+bitexact", **muxer_options}
    layout = _LAYOUTS[data.shape[0]]
    try:
        with av.open(buffer, "w", format=muxer, options=options) as container:
            container.metadata.update(tags or {})
            stream = container.add_stream(
                encoder,
                rate=rate,
                options={"flags": "+bitexact"},
                layout=layout,
                format=sample_format,
            )
            if not isinstance(stream, av.AudioStream):  # for the type checker
                raise MediaError(f"encoder={encoder} does not encode audio")
            if bitrate_kbps is not None:
                stream.bit_rate = bitrate_kbps * 1000
            for frame in _frames(data, rate, sample_format, layout):
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
    except av.FFmpegError as error:
        raise MediaError(f"encoder={encoder} at {rate} Hz, {layout}: {error}") from error
    return buffer.getvalue()


def _frames(data: Array, rate: int, sample_format: str, layout: str) -> Iterator[av.AudioFrame]:
    for start in range(0, data.shape[1], _CHUNK):
        chunk: npt.NDArray[Any] = data[:, start : start + _CHUNK]
        if not sample_format.endswith("p"):  # packed: one row, channels interleaved
            chunk = chunk.T.reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(chunk), format=sample_format, layout=layout
        )
        frame.sample_rate = rate
        frame.pts = start
        frame.time_base = Fraction(1, rate)
        yield frame


def _with_exact_padding(mp3: bytes, length: int, frame_length: int) -> bytes:
    """Correct the padding that the LAME tag of an mp3 records.

    FFmpeg can't record more than one frame of padding beyond the decoder's delay, so clips whose
    last frame holds 1 to 46 samples would decode a little too long. The tag's layout is at
    http://gabriel.mp3-tech.org/mp3infotag.html: at byte 21 from the encoder's name 12 bits of delay
    and 12 of padding, at byte 34 a CRC-16 of the 190 bytes from the start of the frame up to it.
    """
    start = _id3_length(mp3)
    tag = max(mp3.find(name, start, start + 64) for name in (b"Info", b"Xing"))
    if tag < 0:
        raise MediaError("the mp3 encoder wrote no LAME tag, so the clip would not be gapless")
    data = bytearray(mp3)
    num_frames = int.from_bytes(data[tag + 8 : tag + 12], "big")
    gap = tag + 120 + 21
    delay = int.from_bytes(data[gap : gap + 3], "big") >> 12
    padding = num_frames * frame_length - delay - length
    data[gap : gap + 3] = (delay << 12 | padding).to_bytes(3, "big")
    end = tag + 120 + 34
    data[end : end + 2] = _crc16(data[start:end]).to_bytes(2, "big")
    return bytes(data)


def _id3_length(data: bytes) -> int:
    """Bytes of the ID3v2 tag in front of an mp3: its size is four times 7 bits."""
    if not data.startswith(b"ID3"):
        return 0
    size = 0
    for byte in data[6:10]:
        size = size << 7 | byte
    return 10 + size


def _crc16(data: bytes | bytearray) -> int:
    """CRC-16/ARC: polynomial 0x8005, reflected, from 0."""
    crc = 0
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0xA001 if crc & 1 else 0)
    return crc
