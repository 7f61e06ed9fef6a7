"""Bytes or a file → samples in memory or in a file, in this process, by the FFmpeg inside PyAV.

Input is not trusted. Only containers that hold the audio data themselves are opened, so a playlist
can't make the decoder fetch an address or a local file. Every limit is enforced while decoding,
whatever the file's header claims.
"""

import functools
import io
import itertools
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

import av
import numpy.typing as npt

from riffusion.audio.aiff_au_samples import little_endian_data
from riffusion.audio.blocks import Blocks, Limits, Part, mixed_to_stereo
from riffusion.audio.caf_samples import unusual_caf_data, with_true_remainder
from riffusion.audio.decoded_integers import (
    integers,
    is_at_full_scale,
    peak_of,
    rounded,
    warn_of_clipping,
)
from riffusion.audio.frames import Frames, array_of_frame, is_wide, joined, recorded_length
from riffusion.audio.mov_samples import with_true_widths
from riffusion.audio.ogg_chain import ogg_links
from riffusion.audio.raw_samples import Padding, SampleData
from riffusion.audio.source_view import SourceView, without_leading_tags
from riffusion.audio.speakers import sides_to_mix
from riffusion.audio.wav_samples import unusual_wav_data
from riffusion.errors import MediaError
from riffusion.io.files import check_readable

logger = logging.getLogger(__name__)

CONTAINERS = "aac,aiff,amr,asf,au,caf,flac,matroska,webm,mov,mp4,m4a,mp3,ogg,w64,wav,wv"
"""FFmpeg's demuxers for what recorders, phones, studios and download sites write. Each one is code
that reads hostile bytes in this process, so rare and old formats are left out."""
_MISREAD_CODECS = ("g726", "g726le")
"""Codecs that FFmpeg decodes at a wrong level."""
_CODECS_OF_32_BITS = ("pcm_s32", "pcm_s64", "pcm_f")
"""Codecs of samples with 32 bits or more; others with more than 16 may have 24."""
_REMEDY = "send an audio file such as mp3, wav, flac, ogg or m4a"

P = TypeVar("P", bound=Part)


class Stream(NamedTuple, Generic[P]):
    """A decoded audio stream.

    Args:
        rate: in Hz.
        bits: of the file's samples, 16, 24 or 32; None if they are in the samples themselves.
        part: the samples.
    """

    rate: int
    bits: int | None
    part: P


def decode_streams(
    data: bytes | Path, limits: Limits, new_part: Callable[[], P], max_bytes: int
) -> list[Stream[P]]:
    """Decode a file, as `decode_audio` describes it, into parts: one, or one per link of a chain.

    Args:
        data: the file's bytes, or its path.
        limits: of the whole audio.
        new_part: creates the part for a stream.
        max_bytes: largest file allowed.

    Returns:
        At least one stream; all have the same rate and channels, but their widths may differ.

    Raises:
        MediaError, InputError: as `decode_audio`.
    """
    if isinstance(data, Path):
        check_readable(data, max_bytes, "audio")
        try:
            with data.open("rb") as file:
                return _decode_source(file, limits, new_part)
        except MediaError as error:
            raise MediaError(f"path={str(data)!r}: {error}") from error
    if not data:
        raise MediaError(f"the audio file is empty (0 bytes); {_REMEDY}")
    if len(data) > max_bytes:
        raise MediaError(f"the audio file has {len(data)} bytes; at most {max_bytes} are allowed")
    return _decode_source(io.BytesIO(data), limits, new_part)


def _decode_source(
    source: io.BufferedIOBase, limits: Limits, new_part: Callable[[], P]
) -> list[Stream[P]]:
    """Decode a file; the links of a chained Ogg file are decoded one by one."""
    source = without_leading_tags(source)
    links = ogg_links(source)
    size = source.seek(0, io.SEEK_END)
    source.seek(0)
    if not links or links == [(0, size)]:
        return [_decode_link(source, limits, new_part)]
    streams: list[Stream[P]] = []
    for start, end in links:
        try:
            streams.append(_decode_link(SourceView(source, start, end=end), limits, new_part))
        except _NothingDecodedError as error:
            logger.warning("a part of the chained audio file is left out: %s", error)
            continue
        first, last = streams[0], streams[-1]
        num_channels = first.part.num_channels
        if (first.rate, num_channels) != (last.rate, last.part.num_channels):
            raise _changed(first.rate, num_channels, last.rate, last.part.num_channels)
        limits.check(sum(stream.part.num_samples for stream in streams), first.rate, num_channels)
    if not streams:
        raise _NothingDecodedError(f"no part of the chained file has audio; {_REMEDY}")
    return streams


def _decode_link(source: io.BufferedIOBase, limits: Limits, new_part: Callable[[], P]) -> Stream[P]:
    """Decode as the container that FFmpeg detects; if that fails and the head looks right, as mp3.

    FFmpeg's detection goes by likelihood and mistakes some very short mp3 files for video.
    """
    head = source.read(2)
    source.seek(0)
    try:
        return _decode_as(None, source, limits, new_part())
    except _NothingDecodedError as error:
        if head != b"ID" and not (head[:1] == b"\xff" and head[1:] >= b"\xe0"):
            raise
        source.seek(0)
        try:
            return _decode_as("mp3", source, limits, new_part())
        except _NothingDecodedError:
            raise error from None


class _NothingDecodedError(MediaError):
    """No sample could be decoded."""


def _decode_as(format: str | None, source: io.BufferedIOBase, limits: Limits, part: P) -> Stream[P]:
    raw = unusual_wav_data(source) or unusual_caf_data(source) or little_endian_data(source)
    if raw is not None:
        return _decode_raw(raw, source, limits, part)
    source = with_true_widths(with_true_remainder(source))
    try:
        container = av.open(
            source,
            "r",
            format=format,
            options={"format_whitelist": CONTAINERS},
            metadata_errors="replace",  # tags in other encodings than UTF-8
        )
    except (av.FFmpegError, ValueError) as error:
        raise _NothingDecodedError(
            f"not a readable audio file, or one that is cut off too early; {_REMEDY}"
        ) from error
    with container:
        if not container.streams.audio:
            raise _NothingDecodedError(f"the file has no audio stream; {_REMEDY}")
        stream = container.streams.audio[0]
        if stream.codec_context is None:
            raise _NothingDecodedError(f"the file's audio is in an unknown codec; {_REMEDY}")
        if stream.codec_context.name in _MISREAD_CODECS:
            raise MediaError(f"the file's codec {stream.codec_context.name} isn't read; {_REMEDY}")
        return _decode_stream(Frames(container, stream), limits, part)


def _decode_raw(raw: SampleData, source: io.BufferedIOBase, limits: Limits, part: P) -> Stream[P]:
    """Read samples that FFmpeg would misread."""
    format = raw.format
    blocks = Blocks(format.sample_rate, format.num_channels, limits, part)
    padding = Padding(format)
    peak = 0.0
    for block in raw.blocks(source):
        if not blocks.has_room(block.shape[1]):
            break
        padding.add(block)
        if block.dtype.kind == "f":
            peak = max(peak, peak_of(block))
            block = rounded(block, wide=True)
        blocks.add(block)
    if not blocks.length:
        raise _NothingDecodedError(f"the file has no samples: it is empty or cut off; {_REMEDY}")
    blocks.end_at(blocks.length)
    is_float = format.encoding == "float"
    if padding.are_floats():
        is_float = True

        def from_cool_edit(block: npt.NDArray[Any]) -> npt.NDArray[Any]:
            nonlocal peak
            floats = padding.floats(block)
            peak = max(peak, peak_of(floats))
            return rounded(floats, wide=True)

        part.change(from_cool_edit)
    warn_of_clipping(peak, is_lossy=False)
    _mix(part, sides_to_mix(format.speakers))
    return Stream(blocks.rate, 32 if is_float or format.bits > 24 else None, part)


def _decode_stream(frames: Frames, limits: Limits, part: P) -> Stream[P]:
    iterator = iter(frames)
    first = next(iterator, None)
    if first is None:
        raise _NothingDecodedError(
            f"no audio could be decoded from the file's {frames.stream.codec_context.name} stream: "
            f"it is empty, truncated or damaged; {_REMEDY}"
        )
    rate, layout = first.sample_rate, first.layout
    sides = sides_to_mix([channel.name for channel in layout.channels])
    blocks = Blocks(rate, layout.nb_channels, limits, part)
    wide = is_wide(frames.stream, first)

    def arrays() -> Iterator[npt.NDArray[Any]]:
        for frame in itertools.chain([first], iterator):
            if (frame.sample_rate, frame.layout.name) != (rate, layout.name):
                count = frame.layout.nb_channels
                raise _changed(rate, layout.nb_channels, frame.sample_rate, count)
            if not blocks.has_room(frame.samples):
                break
            yield array_of_frame(frame)

    peak = 0.0
    for array in joined(arrays()):
        samples = integers(array, wide)
        if array.dtype.kind == "f" and is_at_full_scale(samples):
            peak = max(peak, peak_of(array))
        blocks.add(samples)
    warn_of_clipping(peak, is_lossy=not wide)
    blocks.end_at(recorded_length(frames, first, blocks.length))
    _mix(part, sides)
    is_known = frames.stream.codec_context.name.startswith(_CODECS_OF_32_BITS)
    return Stream(rate, 32 if is_known else None, part)


def _changed(rate: int, num_channels: int, to_rate: int, to_num_channels: int) -> MediaError:
    return MediaError(
        f"the file changes from {rate} Hz and {num_channels} channels to {to_rate} Hz and "
        f"{to_num_channels} channels midway; convert it to one rate and channel layout first"
    )


def _mix(part: Part, sides: str | None) -> None:
    """Mix to stereo if the file's layout isn't a usual one."""
    if sides is not None:
        part.change(functools.partial(mixed_to_stereo, sides=sides))
