"""Chunks of a WAV file that describe it: INFO, bext (Broadcast Wave), iXML and ID3.

    RIFF, size, WAVE, then chunks of (name, size, data), with a byte of padding after an odd size

They are copied as they are, but for the time reference of a copy that starts elsewhere. In a copy
they are after the samples, where any order is allowed but for `fmt ` before `data`. RF64 and BW64
files have their sizes of 64 bits in a chunk `ds64`.
"""

import io
import logging
import re
import struct
from collections.abc import Iterator
from typing import Protocol

logger = logging.getLogger(__name__)

_MAX_CHUNKS = 1000
_MAX_KEPT_BYTES = 2**24
_RIFF, _LONG_RIFF = (b"RIFF",), (b"RF64", b"BW64")
_KEPT = (b"bext", b"iXML", b"id3 ", b"ID3 ")
_SIZE_UNKNOWN = 2**32 - 1
_TIME_REFERENCE = slice(338, 346)
"""Its place in `bext`."""
_IXML_TIME_REFERENCES = (
    (b"BWF_TIME_REFERENCE_LOW", b"BWF_TIME_REFERENCE_HIGH"),
    (b"TIMESTAMP_SAMPLES_SINCE_MIDNIGHT_LO", b"TIMESTAMP_SAMPLES_SINCE_MIDNIGHT_HI"),
)
HEAD_BYTES = 28
"""Bytes at the start of a WAV file that hold its sizes."""
_RIFF_SIZE_AT, _LONG_RIFF_SIZE_AT = 4, 20


class File(Protocol):
    """A file that is completed in place."""

    def seek(self, offset: int, whence: int = 0, /) -> int: ...
    def write(self, data: bytes, /) -> int: ...


def kept_chunks(source: io.BufferedIOBase) -> bytes:
    """The chunks of a WAV file that its copy keeps, whole and padded; b"" for other files.

    A chunk that is cut off is left out. So is one of more than 16 MiB with those before it, with a
    warning.
    """
    source.seek(0)
    magic = source.read(12)
    if magic[:4] not in (*_RIFF, *_LONG_RIFF) or magic[8:12] != b"WAVE":
        return b""
    kept = b""
    offset, long_size = 12, None
    for _ in range(_MAX_CHUNKS):
        source.seek(offset)
        head = source.read(8)
        if len(head) < 8:
            break
        name, size = head[:4], int.from_bytes(head[4:], "little")
        if name == b"ds64":
            long_size = struct.unpack("<8xQ", source.read(16).ljust(16, b"\0"))[0]
        elif name == b"data" and size == _SIZE_UNKNOWN:
            if long_size is None:
                break
            size = long_size
        elif _is_kept(source, name, size):
            kept += _kept(source, offset, _MAX_KEPT_BYTES - len(kept))
        offset += 8 + size
        offset += size % 2
        if size % 2 and not _is_name(source, offset) and _is_name(source, offset - 1):
            offset -= 1  # some programs forget the padding
    return kept


def append_chunks(file: File, chunks: bytes, head: bytes, end: int) -> None:
    """Append chunks to a complete WAV file, and correct its size.

    Args:
        file: the file.
        chunks: whole and padded, as of `kept_chunks`.
        head: its first `HEAD_BYTES`.
        end: its length.
    """
    padded = bytes(end % 2) + chunks
    size = end + len(padded) - 8
    if head[:4] in _LONG_RIFF:
        place, number = _LONG_RIFF_SIZE_AT, size.to_bytes(8, "little")
    elif size < _SIZE_UNKNOWN:
        place, number = _RIFF_SIZE_AT, size.to_bytes(4, "little")
    else:
        logger.warning(
            "the file has no room for the recording's chunks (INFO, bext, iXML, ID3) within the 4 "
            "GiB of a wav; write a flac to keep tags"
        )
        return
    file.seek(end)
    file.write(padded)
    file.seek(place)
    file.write(number)


def with_start_moved(chunks: bytes, num_samples: int, sample_rate: int) -> bytes:
    """Chunks for a copy that starts at another time: their time references are moved.

    A time reference counts samples since midnight: 64 bits in `bext` (EBU Tech 3285), and numbers
    in the text of `iXML`, which repeats them in two places.

    Args:
        chunks: whole and padded, as of `kept_chunks`.
        num_samples: how much later the copy starts; negative if it starts earlier.
        sample_rate: in Hz; a day has that many samples per second, after which the count starts
            again.
    """
    if num_samples == 0:
        return chunks
    day = 24 * 60 * 60 * sample_rate
    moved = b""
    for name, data in _split(chunks):
        if name == b"bext" and len(data) >= _TIME_REFERENCE.stop:
            (before,) = struct.unpack("<Q", data[_TIME_REFERENCE])
            after = struct.pack("<Q", (before + num_samples) % day)
            data = data[: _TIME_REFERENCE.start] + after + data[_TIME_REFERENCE.stop :]
        elif name == b"iXML":
            for low, high in _IXML_TIME_REFERENCES:
                data = _with_ixml_moved(data, low, high, num_samples, day)
        moved += name + len(data).to_bytes(4, "little") + data + bytes(len(data) % 2)
    return moved


def _with_ixml_moved(text: bytes, low: bytes, high: bytes, num_samples: int, day: int) -> bytes:
    """The text with another number in two elements: its lower and its upper 32 bits."""
    found = {name: _element(name).search(text) for name in (low, high)}
    halves = {name: int(match[2]) for name, match in found.items() if match is not None}
    if len(halves) < 2:
        return text
    after = ((halves[high] << 32) + halves[low] + num_samples) % day
    for name, half in ((low, after & 0xFFFFFFFF), (high, after >> 32)):
        text = _element(name).sub(rb"\g<1>%d\g<3>" % half, text)
    return text


def _element(name: bytes) -> re.Pattern[bytes]:
    return re.compile(rb"(<%s>\s*)(\d{1,20})(\s*</%s>)" % (name, name))


def _split(chunks: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Names and contents of whole and padded chunks."""
    at = 0
    while at < len(chunks):
        size = int.from_bytes(chunks[at + 4 : at + 8], "little")
        yield chunks[at : at + 4], chunks[at + 8 : at + 8 + size]
        at += 8 + size + size % 2


def _kept(source: io.BufferedIOBase, offset: int, at_most: int) -> bytes:
    """The chunk at an offset, whole and padded; b"" if it is too large or cut off."""
    source.seek(offset)
    head = source.read(8)
    size = int.from_bytes(head[4:], "little")
    if size > at_most:
        logger.warning(
            "the chunk %s of %.1f MiB is left out of edited files: a wav keeps %d MiB of chunks",
            head[:4].decode("ascii").strip(),
            size / 2**20,
            _MAX_KEPT_BYTES >> 20,
        )
        return b""
    data = source.read(size)
    return head + data + bytes(size % 2) if len(data) == size else b""


def _is_kept(source: io.BufferedIOBase, name: bytes, size: int) -> bool:
    """Whether the chunk at the source's position is one that copies keep."""
    return size > 0 and (name in _KEPT or (name == b"LIST" and source.read(4) == b"INFO"))


def _is_name(source: io.BufferedIOBase, offset: int) -> bool:
    """Whether a chunk can begin at an offset: its name has only printable characters."""
    source.seek(offset)
    name = source.read(4)
    return len(name) == 4 and all(32 <= byte < 127 for byte in name)
