"""Bytes or a file to AudioSegment, in this process, by the FFmpeg inside PyAV.

Input is not trusted. Only containers that hold the audio data themselves are opened, so a playlist
can't make the decoder fetch an address or a local file. Every limit is enforced while decoding,
whatever the file's header claims.
"""

import io
import itertools
import logging
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt

from riffusion.audio.segments import AudioSegment, segment_from_samples
from riffusion.audio.waveform import MAX_SAMPLE_RATE_HZ, MIN_SAMPLE_RATE_HZ, num_samples_in
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
_MAX_PADDING = 4096
"""Largest number of samples in an encoder's last packets beyond the end of the audio."""
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
    more than 16 bits become 32-bit segments, all others 16-bit; floats beyond full scale clip.

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
        return _decode_path(data, max_duration_s, max_bytes, max_samples)
    if not data:
        raise MediaError(f"the audio file is empty (0 bytes); {_REMEDY}")
    if len(data) > max_bytes:
        raise MediaError(f"the audio file has {len(data)} bytes; at most {max_bytes} are allowed")
    return _decode_source(io.BytesIO(data), max_duration_s, max_samples)


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
    return _decode_path(Path(path), max_duration_s, max_bytes, max_samples)


def _decode_path(
    path: Path, max_duration_s: float | None, max_bytes: int, max_samples: int
) -> AudioSegment:
    check_readable(path, max_bytes, "audio")
    try:
        with path.open("rb") as file:
            return _decode_source(file, max_duration_s, max_samples)
    except MediaError as error:
        raise MediaError(f"path={str(path)!r}: {error}") from error


def _decode_source(
    source: io.BufferedIOBase, max_duration_s: float | None, max_samples: int
) -> AudioSegment:
    """Decode as the container that FFmpeg detects; if that fails and the head looks right, as mp3.

    FFmpeg's detection goes by likelihood and mistakes some very short mp3 files for video.
    """
    head = source.read(2)
    source.seek(0)
    try:
        return _decode_as(None, source, max_duration_s, max_samples)
    except _NothingDecodedError as error:
        if head != b"ID" and not (head[:1] == b"\xff" and head[1:] >= b"\xe0"):
            raise
        source.seek(0)
        try:
            return _decode_as("mp3", source, max_duration_s, max_samples)
        except _NothingDecodedError:
            raise error from None


class _NothingDecodedError(MediaError):
    """No sample could be decoded."""


def _decode_as(
    format: str | None,
    source: io.BufferedIOBase,
    max_duration_s: float | None,
    max_samples: int,
) -> AudioSegment:
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
        frames = _Frames(container, stream)
        return _decode_stream(frames, max_duration_s, max_samples)


def _decode_stream(
    frames: "_Frames", max_duration_s: float | None, max_samples: int
) -> AudioSegment:
    iterator = iter(frames)
    first = next(iterator, None)
    if first is None:
        raise _NothingDecodedError(
            f"no audio could be decoded from the file's {frames.stream.codec_context.name} stream: "
            f"it is empty, truncated or damaged; {_REMEDY}"
        )
    rate, num_channels = first.sample_rate, first.layout.nb_channels
    if not MIN_SAMPLE_RATE_HZ <= rate <= MAX_SAMPLE_RATE_HZ:
        raise MediaError(
            f"sample_rate={rate} of the file must be from {MIN_SAMPLE_RATE_HZ} to "
            f"{MAX_SAMPLE_RATE_HZ} Hz; resample it first"
        )
    limit = max_samples // num_channels
    if max_duration_s is not None:
        limit = min(limit, num_samples_in("max_duration_s", max_duration_s, rate))
    wide = _is_wide(frames.stream, first)
    blocks: list[npt.NDArray[np.signedinteger]] = []
    length = 0
    for frame in itertools.chain([first], iterator):
        if (frame.sample_rate, frame.layout.nb_channels) != (rate, num_channels):
            raise MediaError(
                f"the file changes from {rate} Hz and {num_channels} channels to "
                f"{frame.sample_rate} Hz and {frame.layout.nb_channels} channels midway; "
                "convert it to one rate and channel count first"
            )
        length += frame.samples
        if length > limit + _MAX_PADDING:
            break
        blocks.append(_integers(frame, wide))
    end = _recorded_length(frames, first, length)
    if end > limit:
        raise MediaError(
            f"the audio is longer than {limit / rate:g} s, the limit for {num_channels} channels "
            f"at {rate} Hz; shorten it"
        )
    return segment_from_samples(np.concatenate(blocks, axis=1)[:, :end], rate)


class _Frames:
    """Iterates over all frames that can be decoded.

    Damaged packets are skipped; a damaged container ends the iteration.

    Attributes:
        end: end of the last packet in the stream's time base, once all frames are read.
    """

    def __init__(self, container: av.container.InputContainer, stream: av.AudioStream) -> None:
        self.container = container
        self.stream = stream
        self.end = 0

    def __iter__(self) -> Iterator[av.AudioFrame]:
        num_damaged = 0
        try:
            for packet in self.container.demux(self.stream):
                try:
                    frames = packet.decode()
                except av.FFmpegError:
                    num_damaged += 1
                    continue
                if packet.pts is not None:
                    self.end = max(self.end, packet.pts + (packet.duration or 0))
                yield from (frame for frame in frames if frame.samples)
        except av.FFmpegError as error:
            logger.warning("the audio file is damaged, the rest of it is left out: %s", error)
        if num_damaged:
            logger.warning("the audio file is damaged: %d packets are left out", num_damaged)


def _is_wide(stream: av.AudioStream, frame: av.AudioFrame) -> bool:
    """Whether the source has more than 16 bits. Lossy codecs decode to floats, but have fewer."""
    lossless_floats = stream.codec_context.name.startswith(("pcm_f", "wavpack"))
    name = frame.format.name
    return name.startswith(("s32", "s64")) or (name[:3] in ("flt", "dbl") and lossless_floats)


def _integers(frame: av.AudioFrame, wide: bool) -> npt.NDArray[np.signedinteger]:
    """(channels, samples), int32 if wide, else int16; floats are rounded and clipped."""
    array: npt.NDArray[Any] = frame.to_ndarray()
    if not frame.format.is_planar:
        array = array.reshape(-1, frame.layout.nb_channels).T
    if array.dtype == np.uint8:
        return (array.astype(np.int16) - 128) << 8
    if array.dtype == np.int16:
        return array
    if array.dtype == np.int32:
        return array if wide else np.right_shift(array, 16).astype(np.int16)
    full_scale = 2.0**31 if wide else 2.0**15
    scaled = np.rint(np.clip(np.nan_to_num(array.astype(np.float64)), -1, 1) * full_scale)
    return np.minimum(scaled, full_scale - 1).astype(np.int32 if wide else np.int16)


def _recorded_length(frames: _Frames, first: av.AudioFrame, length: int) -> int:
    """Number of samples that an m4a or mp4 file records in its edit list and last packet.

    FFmpeg's mov demuxer starts at the start of the edit list, but decodes the whole last packet.
    A difference larger than a packet means a wrong header; `length` is returned then.
    """
    stream = frames.stream
    if frames.container.format.name[:3] != "mov" or not stream.duration or not stream.time_base:
        return length
    if stream.time_base > Fraction(2, first.sample_rate):  # too coarse to locate a sample
        return length
    duration = min(stream.duration, frames.end - (first.pts or 0))
    recorded = round(duration * stream.time_base * first.sample_rate)
    return recorded if 0 < length - recorded <= _MAX_PADDING else length
