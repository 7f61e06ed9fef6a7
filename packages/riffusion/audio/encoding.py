"""Audio to bytes, in this process, by the FFmpeg inside PyAV.

Files are gapless: the samples that an encoder adds at either end are recorded in the file (LAME
tag, edit list, pre-skip and granule position), and `decode_audio` removes them. The same audio
gives the same bytes: no dates, no encoder versions, no random serial numbers.
"""

import io
from collections.abc import Mapping
from pathlib import Path

from riffusion.audio.encoder import Encoder, Encoding
from riffusion.audio.formats import AudioFileFormat, check_format, format_from_path
from riffusion.audio.mp3_padding import with_exact_padding
from riffusion.audio.segments import AudioSegment, pcm_from_audio
from riffusion.audio.tags import Tags
from riffusion.audio.waveform import Audio
from riffusion.errors import InputError
from riffusion.io.files import check_output_path, write_file


def encode_audio(
    segment: AudioSegment | Audio,
    format: AudioFileFormat,
    *,
    bitrate_kbps: int | None = None,
    tags: Mapping[str, str] | None = None,
) -> bytes:
    """Encode audio so that decoding returns the same number of samples.

    A waveform is rounded to 16 bits first. `wav` keeps 16 and 32 bits, `flac` keeps 16 and rounds
    32 to 24; both keep rate and channels. The others mix more than two channels to stereo, and
    resample to the nearest rate that the codec supports: `ogg` (Opus) always to 48 kHz, `mp3` and
    `m4a` only from unusual rates. One exception to gapless: an mp3 of fewer than 47 samples at
    24 kHz or less decodes to 529 samples too many.

    Args:
        segment: at least one sample, of any rate, sample width and channel count.
        format: `mp3`, `wav`, `flac`, `ogg` or `m4a`.
        bitrate_kbps: for a lossy format; default 192 for mp3 and m4a, 128 for ogg.
        tags: such as title, artist, comment.

    Raises:
        InputError: the audio is empty or not finite, or the format or the bit rate is not allowed.
    """
    format = check_format(format)
    pcm = pcm_from_audio(segment)
    if pcm.num_samples == 0:
        raise InputError("the audio holds no samples; at least one is needed to write a file")
    encoding = Encoding.of(format, pcm, bitrate_kbps)
    buffer = io.BytesIO()
    with Encoder(buffer, encoding, Tags(tags or {})) as encoder:
        pcm = pcm.converted(encoding.rate_hz, encoding.num_channels)
        encoder.encode(encoding.data_from(pcm))
    encoded = buffer.getvalue()
    if encoding.muxer == "mp3":
        return with_exact_padding(encoded, encoder.num_samples, encoding.rate_hz)
    return encoded


def write_audio(
    segment: AudioSegment | Audio,
    path: str | Path,
    *,
    bitrate_kbps: int | None = None,
    tags: Mapping[str, str] | None = None,
) -> None:
    """Encode audio into a file; the extension decides the format.

    The file is written whole or not at all.

    Raises:
        InputError: unknown extension, the file can't be written, or as `encode_audio`.
    """
    path = Path(path)
    format = format_from_path(path)
    check_output_path(path)
    write_file(encode_audio(segment, format, bitrate_kbps=bitrate_kbps, tags=tags), path)
