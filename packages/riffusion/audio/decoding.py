"""Bytes or a file to AudioSegment, in this process, by the FFmpeg inside PyAV.

Input is not trusted. Only containers that hold the audio data themselves are opened, so a playlist
can't make the decoder fetch an address or a local file. Every limit is enforced while decoding,
whatever the file's header claims.
"""

import io
import itertools
import logging
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt

from riffusion.audio.aiff_au_samples import little_endian_data
from riffusion.audio.blocks import Blocks, Limits, mixed_to_stereo
from riffusion.audio.caf_samples import unusual_caf_data, with_true_remainder
from riffusion.audio.frames import Frames, array_of_frame, is_wide, recorded_length
from riffusion.audio.mov_samples import with_true_widths
from riffusion.audio.ogg_chain import ogg_links
from riffusion.audio.raw_samples import SampleData
from riffusion.audio.segments import AudioSegment, num_samples, segment_from_samples
from riffusion.audio.source_view import without_leading_tags
from riffusion.audio.speakers import sides_to_mix
from riffusion.audio.wav_samples import unusual_wav_data
from riffusion.errors import MediaError
from riffusion.io.files import check_readable

logger = logging.getLogger(__name__)

MAX_BYTES = 2**31
"""Default limit for the encoded size: 2 GiB."""
MAX_SAMPLES = 2**29
"""Default limit for samples × channels: 100 minutes in stereo, 1 GiB of memory at 16 bits."""

_CONTAINERS = "aac,aiff,amr,asf,au,caf,flac,matroska,webm,mov,mp4,m4a,mp3,ogg,w64,wav,wv"
"""FFmpeg's demuxers for what recorders, phones, studios and download sites write. Each one is code
that reads hostile bytes in this process, so rare and old formats are left out."""
_MISREAD_CODECS = ("g726", "g726le")
"""Codecs that FFmpeg decodes at a wrong level."""
_LOSSY_OVERSHOOT = 1.5
"""Peak that lossy codecs reach with audio at full scale, rounded up; 1.5 is 3.5 dB."""
_REMEDY = "send an audio file such as mp3, wav, flac, ogg or m4a"


def decode_audio(
    data: bytes | Path,
    *,
    max_duration_s: float | None = None,
    max_bytes: int = MAX_BYTES,
    max_samples: int = MAX_SAMPLES,
) -> AudioSegment:
    """Decode the first audio stream of a file; cover art and video are skipped.

    Delay and padding added by an encoder are removed where the file records them: mp3 with a LAME
    tag, m4a, Opus and others. Rate and channels are those of the file (Opus: 48 kHz). Sources with
    more than 16 bits become 32-bit segments, all others 16-bit; floats beyond full scale clip,
    and a warning is logged. A file with a speaker layout that the number of channels doesn't tell
    is mixed to stereo; a file without a layout, such as a plain WAV file, counts as having the
    usual one for its number of channels (`speakers.DEFAULT_SIDES`: four are quad, six 5.1). The
    parts of a chained Ogg file are joined.

    For a damaged or truncated file, the parts that can be decoded are returned and a warning is
    logged.

    Args:
        data: the file's bytes, or its path.
        max_duration_s: longest audio allowed, in seconds; None leaves `max_samples` as the only
            limit.
        max_bytes: largest file allowed.
        max_samples: largest number of samples × channels allowed.

    Raises:
        MediaError: not an audio file, no audio stream, nothing that can be decoded, a sample rate
            out of range, or a limit exceeded.
        InputError: the path isn't a file.
    """
    if isinstance(data, Path):
        return _decode_path(data, max_bytes, Limits(max_duration_s, max_samples))
    if not data:
        raise MediaError(f"the audio file is empty (0 bytes); {_REMEDY}")
    if len(data) > max_bytes:
        raise MediaError(f"the audio file has {len(data)} bytes; at most {max_bytes} are allowed")
    return _decode_source(io.BytesIO(data), Limits(max_duration_s, max_samples))


def read_audio(
    path: str | Path,
    *,
    max_duration_s: float | None = None,
    max_bytes: int = MAX_BYTES,
    max_samples: int = MAX_SAMPLES,
) -> AudioSegment:
    """Decode a file as `decode_audio` does; error messages name the path.

    Raises:
        MediaError: as for `decode_audio`.
        InputError: the path isn't a file.
    """
    return _decode_path(Path(path), max_bytes, Limits(max_duration_s, max_samples))


def _decode_path(path: Path, max_bytes: int, limits: Limits) -> AudioSegment:
    check_readable(path, max_bytes, "audio")
    try:
        with path.open("rb") as file:
            return _decode_source(file, limits)
    except MediaError as error:
        raise MediaError(f"path={str(path)!r}: {error}") from error


def _decode_source(source: io.BufferedIOBase, limits: Limits) -> AudioSegment:
    """Decode a file; the links of a chained Ogg file are decoded one by one and joined."""
    source = without_leading_tags(source)
    links = ogg_links(source)
    size = source.seek(0, io.SEEK_END)
    source.seek(0)
    if not links or links == [(0, size)]:
        return _decode_link(source, limits)
    segments: list[AudioSegment] = []
    for start, end in links:
        source.seek(start)
        try:
            segments.append(_decode_link(io.BytesIO(source.read(end - start)), limits))
        except _NothingDecodedError as error:
            logger.warning("a part of the chained audio file is left out: %s", error)
            continue
        first, last = segments[0], segments[-1]
        if (first.frame_rate, first.channels) != (last.frame_rate, last.channels):
            raise _changed(first.frame_rate, first.channels, last.frame_rate, last.channels)
        length = sum(num_samples(segment) for segment in segments)
        limits.check(length, first.frame_rate, first.channels)
    if not segments:
        raise _NothingDecodedError(f"no part of the chained file has audio; {_REMEDY}")
    widest = max(segment.sample_width for segment in segments)
    data = b"".join(segment.set_sample_width(widest).raw_data for segment in segments)
    return segments[0]._spawn(data, overrides={"sample_width": widest})


def _decode_link(source: io.BufferedIOBase, limits: Limits) -> AudioSegment:
    """Decode as the container that FFmpeg detects; if that fails and the head looks right, as mp3.

    FFmpeg's detection goes by likelihood and mistakes some very short mp3 files for video.
    """
    head = source.read(2)
    source.seek(0)
    try:
        return _decode_as(None, source, limits)
    except _NothingDecodedError as error:
        if head != b"ID" and not (head[:1] == b"\xff" and head[1:] >= b"\xe0"):
            raise
        source.seek(0)
        try:
            return _decode_as("mp3", source, limits)
        except _NothingDecodedError:
            raise error from None


class _NothingDecodedError(MediaError):
    """No sample could be decoded."""


def _decode_as(format: str | None, source: io.BufferedIOBase, limits: Limits) -> AudioSegment:
    raw = unusual_wav_data(source) or unusual_caf_data(source) or little_endian_data(source)
    if raw is not None:
        return _decode_raw(raw, source, limits)
    source = with_true_widths(with_true_remainder(source))
    try:
        container = av.open(source, "r", format=format, options={"format_whitelist": _CONTAINERS})
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
        return _decode_stream(Frames(container, stream), limits)


def _decode_raw(raw: SampleData, source: io.BufferedIOBase, limits: Limits) -> AudioSegment:
    """Read samples that FFmpeg would misread."""
    blocks = Blocks(raw.format.sample_rate, raw.format.num_channels, limits)
    for block in raw.blocks(source):
        if not blocks.has_room(block.shape[1]):
            break
        blocks.add(block)
    if not blocks.length:
        raise _NothingDecodedError(f"the file has no samples: it is empty or cut off; {_REMEDY}")
    samples = raw.format.checked(blocks.joined(blocks.length))
    if samples.dtype.kind == "f":
        _warn_of_clipping(_peak(samples), is_lossy=False)
        samples = _rounded(samples, wide=True)
    return _segment(samples, blocks.rate, sides_to_mix(raw.format.speakers))


def _decode_stream(frames: Frames, limits: Limits) -> AudioSegment:
    iterator = iter(frames)
    first = next(iterator, None)
    if first is None:
        raise _NothingDecodedError(
            f"no audio could be decoded from the file's {frames.stream.codec_context.name} stream: "
            f"it is empty, truncated or damaged; {_REMEDY}"
        )
    rate, layout = first.sample_rate, first.layout
    sides = sides_to_mix([channel.name for channel in layout.channels])
    blocks = Blocks(rate, layout.nb_channels, limits)
    wide = is_wide(frames.stream, first)
    peak = 0.0
    for frame in itertools.chain([first], iterator):
        if (frame.sample_rate, frame.layout.name) != (rate, layout.name):
            count = frame.layout.nb_channels
            raise _changed(rate, layout.nb_channels, frame.sample_rate, count)
        if not blocks.has_room(frame.samples):
            break
        samples = _integers(frame, wide)
        if frame.format.name[:3] in ("flt", "dbl") and _is_at_full_scale(samples):
            peak = max(peak, _peak(array_of_frame(frame)))
        blocks.add(samples)
    _warn_of_clipping(peak, is_lossy=not wide)
    end = recorded_length(frames, first, blocks.length)
    return _segment(blocks.joined(end), rate, sides)


def _changed(rate: int, num_channels: int, to_rate: int, to_num_channels: int) -> MediaError:
    return MediaError(
        f"the file changes from {rate} Hz and {num_channels} channels to {to_rate} Hz and "
        f"{to_num_channels} channels midway; convert it to one rate and channel layout first"
    )


def _segment(samples: npt.NDArray[Any], rate: int, sides: str | None) -> AudioSegment:
    """A segment of integers, mixed to stereo if the file's layout isn't a usual one."""
    return segment_from_samples(samples if sides is None else mixed_to_stereo(samples, sides), rate)


def _integers(frame: av.AudioFrame, wide: bool) -> npt.NDArray[np.signedinteger]:
    """(channels, samples), int32 if wide, else int16; floats are rounded and clipped."""
    array: npt.NDArray[Any] = array_of_frame(frame)
    if array.dtype == np.uint8:
        return np.asarray((array.astype(np.int16) - 128) << 8, dtype=np.int16)
    if array.dtype == np.int16:
        return array
    if array.dtype == np.int64:
        return np.asarray(array >> 32, dtype=np.int32)
    if array.dtype == np.int32:
        return array if wide else np.right_shift(array, 16).astype(np.int16)
    return _rounded(array, wide)


def _rounded(array: npt.NDArray[Any], wide: bool) -> npt.NDArray[np.signedinteger]:
    """Floats to int32 if wide, else to int16; clipped to full scale."""
    full_scale = 2.0**31 if wide else 2.0**15
    scaled = np.rint(np.clip(np.nan_to_num(array.astype(np.float64)), -1, 1) * full_scale)
    return np.minimum(scaled, full_scale - 1).astype(np.int32 if wide else np.int16)


def _is_at_full_scale(samples: npt.NDArray[np.signedinteger]) -> bool:
    full = np.iinfo(samples.dtype)
    return bool(samples.max() == full.max or samples.min() == full.min)


def _peak(floats: npt.NDArray[Any]) -> float:
    """Largest finite size."""
    return float(np.abs(floats).max(initial=0, where=np.isfinite(floats)))


def _warn_of_clipping(peak: float, *, is_lossy: bool) -> None:
    """Lossy codecs overshoot a little: what was at full scale before is above it afterwards."""
    if peak > (_LOSSY_OVERSHOOT if is_lossy else 1.0):
        logger.warning(
            "the audio file has float samples up to %.3g times full scale, which are clipped; "
            "lower its level by %.1f dB to keep them",
            peak,
            20 * np.log10(peak) + 0.05,
        )
