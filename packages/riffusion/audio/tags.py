"""Tags of audio files: title, artist and other texts, the cover, and a WAV's own chunks."""

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Self

from riffusion.audio.wav_chunks import with_start_moved

PICTURE_TYPES = {"mjpeg": "image/jpeg", "png": "image/png"}
"""FFmpeg's names of the images that all formats take as a cover, and their media types."""
FRONT_COVER = "Cover (front)"
"""FFmpeg's name for the picture type 3 of ID3 and FLAC."""
_FRONT_COVER_TYPE, _BITS_PER_PIXEL = 3, 24
_OF_TEMPO_AND_KEY = re.compile(r"t?bpm|tempo|tmpo|tkey|key|initial_?key", re.IGNORECASE)


@dataclass(frozen=True)
class Picture:
    """A cover.

    Args:
        data: the bytes of a JPEG or PNG.
        codec: FFmpeg's name: `mjpeg` or `png`.
        width, height: in pixels.
    """

    data: bytes = field(repr=False)
    codec: str
    width: int
    height: int

    @property
    def flac_block(self) -> bytes:
        """The picture as a FLAC metadata block without its header (RFC 9639, section 8.8)."""
        media_type, no_description, no_palette = PICTURE_TYPES[self.codec].encode(), b"", 0
        size = self.width, self.height, _BITS_PER_PIXEL, no_palette
        return (
            _number(_FRONT_COVER_TYPE)
            + _counted(media_type)
            + _counted(no_description)
            + b"".join(map(_number, size))
            + _counted(self.data)
        )

    @property
    def vorbis_comment(self) -> dict[str, str]:
        """The picture as a comment of an Ogg file."""
        return {"METADATA_BLOCK_PICTURE": base64.b64encode(self.flac_block).decode()}


@dataclass(frozen=True)
class Tags:
    """What an audio file says about its music.

    Args:
        texts: by FFmpeg's generic names, such as title, artist, album, date and comment.
        picture: the cover.
        wav_chunks: whole INFO, bext, iXML and ID3 chunks of a WAV, as they are there. A WAV takes
            them in place of `texts`.
    """

    texts: Mapping[str, str] = field(default_factory=dict)
    picture: Picture | None = None
    wav_chunks: bytes = field(default=b"", repr=False)

    def without_tempo_and_key(self) -> Self:
        """The same without texts that name a tempo or a key.

        A WAV's chunks are left out, as they may name them, too; its texts are kept.
        """
        texts = {
            name: text for name, text in self.texts.items() if not _OF_TEMPO_AND_KEY.fullmatch(name)
        }
        return replace(self, texts=texts, wav_chunks=b"")

    def with_start_moved(self, num_samples: int, sample_rate: int) -> Self:
        """The same for a file that starts later, or with a negative number earlier.

        A WAV's chunks say at which time of the day it starts (Broadcast Wave).
        """
        return replace(self, wav_chunks=with_start_moved(self.wav_chunks, num_samples, sample_rate))


NO_TAGS = Tags()


def _number(value: int) -> bytes:
    return value.to_bytes(4, "big")


def _counted(data: bytes) -> bytes:
    return _number(len(data)) + data
