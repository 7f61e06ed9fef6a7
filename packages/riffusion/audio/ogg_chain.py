"""Links of a chained Ogg file: whole streams, one after the other, as radio recordings have them.

FFmpeg decodes links after the first with the first one's delay, and drops them if their channels
differ. Each link alone is an ordinary file.

A page is `OggS`, a version byte, a byte of flags (2: first page of a stream), 20 bytes, the number
of segments, and their sizes in bytes (RFC 3533, section 6). A link begins with the first pages of
all its streams.
"""

import io

_HEADER_BYTES = 27
_MAGIC = b"OggS\0"
_FIRST_PAGE = 2
_SEARCH_BYTES = 65_536


def ogg_links(source: io.BufferedIOBase) -> list[tuple[int, int]]:
    """Start and end of each link in bytes; none for files that aren't Ogg.

    A link ends with its last page: FFmpeg looks for that page, which tells the length, only at the
    end of what it is given. The position in `source` is where it was.
    """
    position = source.tell()
    starts: list[int] = []
    ends: list[int] = []
    is_in_head = False
    offset = position
    while True:
        source.seek(offset)
        header = source.read(_HEADER_BYTES + 255)
        if not header.startswith(_MAGIC):
            if not starts:  # not Ogg
                break
            skipped = _search(source, offset + 1)
            if skipped is None:
                break
            offset = skipped
            continue
        if len(header) < _HEADER_BYTES:
            break
        is_first_page = bool(header[5] & _FIRST_PAGE)
        if is_first_page and not is_in_head:
            starts.append(offset)
            ends.append(offset)
        is_in_head = is_first_page
        num_segments = header[26]
        offset += (
            _HEADER_BYTES + num_segments + sum(header[_HEADER_BYTES : _HEADER_BYTES + num_segments])
        )
        if ends:
            ends[-1] = offset
    size = source.seek(0, io.SEEK_END)
    source.seek(position)
    return [(start, min(end, size)) for start, end in zip(starts, ends, strict=True)]


def _search(source: io.BufferedIOBase, offset: int) -> int | None:
    """Offset of the next page, after damage; None at the end of the file."""
    while True:
        source.seek(offset)
        block = source.read(_SEARCH_BYTES)
        found = block.find(_MAGIC)
        if found >= 0:
            return offset + found
        if len(block) < _SEARCH_BYTES:
            return None
        offset += len(block) - len(_MAGIC) + 1
