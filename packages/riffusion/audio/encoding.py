"""AudioSegment to bytes, in this process, by the FFmpeg inside PyAV.

Files are gapless: what an encoder adds at either end is recorded in the file (LAME tag, edit list,
pre-skip and granule position), and `decode_audio` takes it off again. The same segment gives the
same bytes: no dates, no encoder versions, no random serial numbers.
"""

import io
from collections.abc import Mapping
from pathlib import Path

from riffusion.audio.encoder import Encoder, Encoding
from riffusion.audio.formats import AudioFileFormat, check_format, format_from_path
from riffusion.audio.mp3_padding import with_exact_padding
from riffusion.audio.segments import AudioSegment, convert, num_samples
from riffusion.errors import InputError
from riffusion.io.files import check_output_path, write_file


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
    encoding = Encoding.of(format, segment, bitrate_kbps)
    segment = convert(
        segment,
        sample_rate=encoding.rate_hz,
        channels=encoding.num_channels if segment.channels > encoding.num_channels else None,
    )
    buffer = io.BytesIO()
    with Encoder(buffer, encoding, tags) as encoder:
        encoder.encode(encoding.data_from(segment))
    encoded = buffer.getvalue()
    if encoding.muxer == "mp3":
        return with_exact_padding(encoded, encoder.num_samples, encoding.rate_hz)
    return encoded


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
    check_output_path(path)
    write_file(encode_audio(segment, format, bitrate_kbps=bitrate_kbps, tags=tags), path)
