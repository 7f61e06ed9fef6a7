"""Adds a cover to an m4a, which FFmpeg's muxer writes without one.

    moov ▸ udta ▸ meta (version and flags, hdlr) ▸ ilst ▸ covr ▸ data (type, locale, image)

An atom is its size of 32 bits, its name and its content. `moov` has to be the file's last atom: it
grows, and nothing in the file that it refers to moves.
"""

from collections.abc import Sequence

from riffusion.audio.tags import Picture

_HEAD_BYTES = 8
_LONG_SIZE = 1
"""It stands for a size of 64 bits, which follows the name."""
_DATA_TYPES = {"mjpeg": 13, "png": 14}
_PATH = (b"udta", b"meta", b"ilst")
_VERSION_AND_FLAGS = bytes(4)
_LOCALE = bytes(4)
_HANDLER = _VERSION_AND_FLAGS + bytes(4) + b"mdirappl" + bytes(9)


def next_atom(head: bytes) -> tuple[bytes, int]:
    """Name and size of the atom that begins with these bytes, at least 16 of them.

    The size is at least 8, and 0 for an atom up to the end of the file.
    """
    size, name = int.from_bytes(head[:4], "big"), head[4:8]
    if size == _LONG_SIZE:
        size = int.from_bytes(head[8:16], "big")
    return name, size


def with_cover(moov: bytes, picture: Picture) -> bytes:
    """A `moov` atom with a cover."""
    data_type = _DATA_TYPES[picture.codec].to_bytes(4, "big")
    cover = _atom(b"covr", _atom(b"data", data_type + _LOCALE + picture.data))
    return _atom(b"moov", _inserted(moov[_HEAD_BYTES:], _PATH, cover))


def _inserted(content: bytes, path: Sequence[bytes], cover: bytes) -> bytes:
    """An atom's content with the cover at the end of the path, which is created if needed."""
    if not path:
        return content + cover
    prefix = _VERSION_AND_FLAGS if path[0] == b"meta" else b""
    at = 0
    while at + _HEAD_BYTES <= len(content):
        name, size = next_atom(content[at:])
        if size < _HEAD_BYTES:
            break
        if name == path[0]:
            inside = content[at + _HEAD_BYTES + len(prefix) : at + size]
            made = _atom(name, prefix + _inserted(inside, path[1:], cover))
            return content[:at] + made + content[at + size :]
        at += size
    start = _atom(b"hdlr", _HANDLER) if path[0] == b"meta" else b""
    return content + _atom(path[0], prefix + _inserted(start, path[1:], cover))


def _atom(name: bytes, content: bytes) -> bytes:
    return (_HEAD_BYTES + len(content)).to_bytes(4, "big") + name + content
