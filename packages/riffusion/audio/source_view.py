"""A file as if it began later, ended earlier, or had other bytes, without a copy of it."""

import io
import re
from collections.abc import Sequence

_TAG_HEADER_BYTES = 10
_HAS_FOOTER = 0x10
_MAX_TAGS = 100
_CONTAINERS = re.compile(
    rb"(RIFF|RIFX|RF64|BW64|FORM|OggS|caff|\.snd|dns\.|wvpk|riff\x2e\x91|\x1aE\xdf\xa3|.{4}ftyp)",
    re.DOTALL,
)
"""First bytes of formats in front of which FFmpeg doesn't expect an ID3 tag."""


class SourceView(io.BufferedReader):
    """A view of a file.

    Args:
        source: the file, which must be seekable.
        start: position in `source` at which the view begins.
        patches: positions in the view, and the bytes that replace those of the file.
        end: position in `source` at which the view ends; None for the end of `source`.
    """

    def __init__(
        self,
        source: io.BufferedIOBase,
        start: int = 0,
        patches: Sequence[tuple[int, bytes]] = (),
        end: int | None = None,
    ) -> None:
        super().__init__(_View(source, start, patches, end))


class _View(io.RawIOBase):
    def __init__(
        self,
        source: io.BufferedIOBase,
        start: int,
        patches: Sequence[tuple[int, bytes]],
        end: int | None,
    ) -> None:
        self._source, self._start, self._patches, self._end = source, start, patches, end
        source.seek(start)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._source.tell() - self._start

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if whence == io.SEEK_END and self._end is not None:
            return self._source.seek(offset + self._end) - self._start
        origin = self._start if whence == io.SEEK_SET else 0
        return self._source.seek(offset + origin, whence) - self._start

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        position = self.tell()
        size = len(buffer)
        if self._end is not None:
            size = max(0, min(size, self._end - self._source.tell()))
        data = bytearray(self._source.read(size))
        for offset, patch in self._patches:
            for index, byte in enumerate(patch, start=offset - position):
                if 0 <= index < len(data):
                    data[index] = byte
        buffer[: len(data)] = data
        return len(data)


def without_leading_tags(source: io.BufferedIOBase) -> io.BufferedIOBase:
    """Skip ID3v2 tags in front of a WAV file and others that have none there.

    Some taggers and download sites write one in front of any file. mp3, FLAC and AAC files stay as
    they are, as their decoders read such tags.
    """
    start = source.tell()
    offset = start
    for _ in range(_MAX_TAGS):
        source.seek(offset)
        head = source.read(_TAG_HEADER_BYTES)
        if not head.startswith(b"ID3") or len(head) < _TAG_HEADER_BYTES:
            break
        size = 0
        for byte in head[6:]:
            size = size << 7 | byte & 0x7F
        offset += len(head) + size + (len(head) if head[5] & _HAS_FOOTER else 0)
    source.seek(offset)
    is_container = _CONTAINERS.match(source.read(8)) is not None
    source.seek(start)
    return SourceView(source, offset) if offset > start and is_container else source
