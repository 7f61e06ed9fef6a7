"""Chunks of a WAV file that describe it: INFO, bext (Broadcast Wave), iXML and ID3.

    RIFF, size, WAVE, then chunks of (name, size, data), with a byte of padding after an odd size

They are copied as they are. In a copy they are after the samples, where any order is allowed but
for `fmt ` before `data`. RF64 and BW64 files have their sizes of 64 bits in a chunk `ds64`.
"""

import io
import struct
from typing import Protocol

_MAX_CHUNKS = 1000
_MAX_KEPT_BYTES = 2**24
_RIFF, _LONG_RIFF = (b"RIFF",), (b"RF64", b"BW64")
_KEPT = (b"bext", b"iXML", b"id3 ", b"ID3 ")
_SIZE_UNKNOWN = 2**32 - 1
HEAD_BYTES = 28
"""Bytes at the start of a WAV file that hold its sizes."""
_RIFF_SIZE_AT, _LONG_RIFF_SIZE_AT = 4, 20


class File(Protocol):
    """A file that is completed in place."""

    def seek(self, offset: int, whence: int = 0, /) -> int: ...
    def write(self, data: bytes, /) -> int: ...


def kept_chunks(source: io.BufferedIOBase) -> bytes:
    """The chunks of a WAV file that its copy keeps, whole and padded; b"" for other files.

    A chunk that is cut off, or of more than 16 MiB with those before it, is left out.
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
        elif _is_kept(source, name, size) and len(kept) + size <= _MAX_KEPT_BYTES:
            source.seek(offset + 8)
            data = source.read(size)
            if len(data) == size:
                kept += head + data + bytes(size % 2)
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
        return
    file.seek(end)
    file.write(padded)
    file.seek(place)
    file.write(number)


def _is_kept(source: io.BufferedIOBase, name: bytes, size: int) -> bool:
    """Whether the chunk at the source's position is one that copies keep."""
    return size > 0 and (name in _KEPT or (name == b"LIST" and source.read(4) == b"INFO"))


def _is_name(source: io.BufferedIOBase, offset: int) -> bool:
    """Whether a chunk can begin at an offset: its name has only printable characters."""
    source.seek(offset)
    name = source.read(4)
    return len(name) == 4 and all(32 <= byte < 127 for byte in name)
