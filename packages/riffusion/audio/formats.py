"""The audio file formats that we write: names, extensions, media types and encoders.

`ogg` is Opus in Ogg. PyAV's wheel has no libvorbis, and FFmpeg's own Vorbis encoder is
experimental, sounds worse and isn't gapless. Opus is gapless, sounds good, and browsers play it.
Opus runs at 48 kHz, so `ogg` files decode to that rate.
"""

import dataclasses
from pathlib import Path
from typing import Literal, cast, get_args

from riffusion.errors import InputError

AudioFileFormat = Literal["mp3", "wav", "flac", "ogg", "m4a"]

MEDIA_TYPES: dict[AudioFileFormat, str] = {
    "mp3": "audio/mpeg",
    "wav": "audio/wav",
    "flac": "audio/flac",
    "ogg": "audio/ogg",
    "m4a": "audio/mp4",
}
"""Media type of each format, for HTTP and data URLs."""

_EXTENSIONS: dict[str, AudioFileFormat] = {
    ".mp3": "mp3",
    ".wav": "wav",
    ".flac": "flac",
    ".ogg": "ogg",
    ".oga": "ogg",
    ".opus": "ogg",
    ".m4a": "m4a",
}


@dataclasses.dataclass(frozen=True)
class LossyCodec:
    """A lossy format's encoder, which takes floats.

    Args:
        muxer, encoder, sample_format: FFmpeg's names.
        rates_hz: the sample rates that it supports.
        bitrate_kbps: the default, which is transparent for most music in stereo.
        bitrate_range_kbps: lowest and highest bit rate allowed.
    """

    muxer: str
    encoder: str
    sample_format: str
    rates_hz: tuple[int, ...]
    bitrate_kbps: int
    bitrate_range_kbps: tuple[int, int]

    def nearest_rate_hz(self, rate_hz: int) -> int:
        """The supported rate closest to `rate_hz`; the higher one of two equally close."""
        return min(self.rates_hz, key=lambda rate: (abs(rate - rate_hz), -rate))


_MP3_RATES_HZ = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
_AAC_RATES_HZ = (*_MP3_RATES_HZ, 64000, 88200, 96000)

LOSSY_CODECS: dict[AudioFileFormat, LossyCodec] = {
    "mp3": LossyCodec("mp3", "libmp3lame", "fltp", _MP3_RATES_HZ, 192, (32, 320)),
    "ogg": LossyCodec("ogg", "libopus", "flt", (48000,), 128, (16, 256)),
    "m4a": LossyCodec("ipod", "aac", "fltp", _AAC_RATES_HZ, 192, (32, 320)),
}
"""Encoders for mono and stereo; `wav` and `flac` are lossless and take up to eight channels."""


def check_format(name: str) -> AudioFileFormat:
    """The format called `name`.

    Raises:
        InputError: no such format; the message lists the formats.
    """
    if name not in get_args(AudioFileFormat):
        raise InputError(f"format={name!r} must be one of {', '.join(get_args(AudioFileFormat))}")
    return cast(AudioFileFormat, name)


def format_from_path(path: str | Path) -> AudioFileFormat:
    """The format that a file's extension names, in upper or lower case.

    Raises:
        InputError: the extension is missing or unknown; the message lists the extensions.
    """
    extension = Path(path).suffix.lower()
    if extension not in _EXTENSIONS:
        raise InputError(
            f"path={str(path)!r} has the extension {extension!r}; "
            f"use one of {', '.join(_EXTENSIONS)}"
        )
    return _EXTENSIONS[extension]
