"""Bytes or a file → AudioSegment; `recording` is for recordings of any length."""

from pathlib import Path

import numpy as np

from riffusion.audio.blocks import Limits, MemoryPart
from riffusion.audio.decoded_integers import widened
from riffusion.audio.segments import AudioSegment, segment_from_samples
from riffusion.audio.streams import Stream, decode_streams

MAX_BYTES = 2**31
"""Default limit for the encoded size: 2 GiB."""
MAX_SAMPLES = 2**29
"""Default limit for samples × channels: 100 minutes in stereo, 1 GiB of memory at 16 bits."""


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
    limits = Limits(max_duration_s, max_samples)
    return _segment(decode_streams(data, limits, MemoryPart, max_bytes))


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
    limits = Limits(max_duration_s, max_samples)
    return _segment(decode_streams(Path(path), limits, MemoryPart, max_bytes))


def _segment(streams: list[Stream[MemoryPart]]) -> AudioSegment:
    """One segment of all streams, with the width of the widest."""
    samples = [stream.part.samples() for stream in streams]
    rate = streams[0].rate
    if len(samples) == 1:
        return segment_from_samples(samples[0], rate)
    widest = np.result_type(*samples)
    return segment_from_samples(np.concatenate([widened(b, widest) for b in samples], axis=1), rate)
