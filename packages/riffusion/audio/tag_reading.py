"""Reads the tags of audio files, to write them into edited ones.

What describes the old samples or the old file (its encoder, its gain for playback, its length) is
left out.
"""

import io
import re
from pathlib import Path

import av
from av.container import InputContainer
from av.stream import Disposition

from riffusion.audio.source_view import without_leading_tags
from riffusion.audio.streams import CONTAINERS
from riffusion.audio.tags import FRONT_COVER, NO_TAGS, PICTURE_TYPES, Picture, Tags
from riffusion.audio.wav_chunks import kept_chunks

MAX_PICTURE_BYTES = 2**24 - 2**10
"""A block of a FLAC has at most 2^24 - 1 bytes (RFC 9639, section 8.1)."""

_OF_THE_FILE = re.compile(
    r"encoder|encoded_by|tsse|tlen|length|duration|language|handler_name|vendor_id|creation_time"
    r"|(major_brand|minor_version|compatible_brands)|cuesheet|metadata_block_picture"
    r"|waveformatextensible_channel_mask|itun(smpb|norm|pgap)|(replaygain|r128)_.*|id3v2_priv\..*",
    re.IGNORECASE,
)
"""Texts that hold for the old file or the old samples only."""
_UNLIKELY = re.compile("[\ue000-\uf8ff\uff61-\uff9f]")
"""Characters that Shift-JIS makes of many Latin-1 texts: private ones, and half-width katakana."""
_KANA = re.compile("[\u3041-\u3096\u30a1-\u30fa]")
_WIDE_PAIR = re.compile("[\u3000-\u9fff\uff01-\uff5e]{2}")


def read_tags(path: Path) -> Tags:
    """The tags of an audio file; none where it can't be read.

    Texts that aren't UTF-8 are read as Shift-JIS or Latin-1, whichever they look like.
    """
    try:
        with path.open("rb") as file:
            source = without_leading_tags(file)
            chunks = kept_chunks(source)
            source.seek(0)
            return _read(source, chunks)
    except OSError:
        return NO_TAGS


def _read(source: io.BufferedIOBase, chunks: bytes) -> Tags:
    try:
        container = av.open(
            source,
            "r",
            options={"format_whitelist": CONTAINERS},
            metadata_errors="surrogateescape",
        )
    except (av.FFmpegError, ValueError):
        return Tags(wav_chunks=chunks)
    with container:
        found = dict(container.metadata)
        if container.format.name == "ogg" and container.streams.audio:
            found |= container.streams.audio[0].metadata
        texts = {
            text_of(name): text_of(text)
            for name, text in found.items()
            if text and not _OF_THE_FILE.fullmatch(name)
        }
        try:
            picture = _picture(container)
        except (av.FFmpegError, ValueError):
            picture = None
    return Tags(texts, picture, chunks)


def _picture(container: InputContainer) -> Picture | None:
    """The front cover, or else the first picture."""
    streams = [
        stream
        for stream in container.streams.video
        if stream.disposition & Disposition.attached_pic
        and stream.codec_context is not None
        and stream.codec_context.name in PICTURE_TYPES
    ]
    streams.sort(key=lambda stream: stream.metadata.get("comment") != FRONT_COVER)
    for stream in streams:
        context = stream.codec_context
        data = next((bytes(packet) for packet in container.demux(stream) if packet.size), b"")
        if 0 < len(data) <= MAX_PICTURE_BYTES and context.width and context.height:
            return Picture(data, context.name, context.width, context.height)
    return None


def text_of(escaped: str) -> str:
    """A text whose bytes weren't UTF-8, in the encoding that they look like.

    Shift-JIS if it is valid there with kana, or with two wide characters side by side: of Latin-1
    texts, few letters have accents, and hardly two of them in a row. Else Windows' Latin-1.

    Args:
        escaped: decoded as UTF-8 with `surrogateescape`.
    """
    data = escaped.encode("utf-8", "surrogateescape")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        pass
    try:
        text = data.decode("cp932")
        if not _UNLIKELY.search(text) and (_KANA.search(text) or _WIDE_PAIR.search(text)):
            return text
    except UnicodeDecodeError:
        pass
    try:
        return data.decode("cp1252")
    except UnicodeDecodeError:
        return data.decode("latin-1")
