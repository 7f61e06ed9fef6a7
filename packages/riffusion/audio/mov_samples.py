"""Width of uncompressed samples in QuickTime movies, which FFmpeg takes from the valid bits.

A movie is a tree of atoms (size u32, name, data). The sound description of a track is in
moov/trak/mdia/minf/stbl/stsd. For `lpcm` of version 2 it ends with: size u32, rate f64,
channels u32, 4 bytes, bits u32, flags u32, bytes per packet u32, frames per packet u32.
"""

import io
import struct
from collections.abc import Iterator

from riffusion.audio.raw_samples import REMEDY
from riffusion.audio.source_view import SourceView
from riffusion.errors import MediaError

_PATH = (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd")
_ENTRY = struct.Struct(">8xI4s8xH18xIdI4xIIII")
"""`stsd` up to its first entry's end: size, kind, version, and the fields of version 2."""
_BITS_AT = 64
"""Position of the bits in `stsd`."""
_IS_FLOAT, _IS_ALIGNED_HIGH = 1, 16
_MAX_ATOMS = 10_000
_MAX_BITS = 64


def with_true_widths(source: io.BufferedIOBase) -> io.BufferedIOBase:
    """Give padded integers of a movie as many bits as their containers have.

    The values stay the same, as such integers fill their containers from the top.

    Raises:
        MediaError: the integers are in the lower bits of their containers.
    """
    patches = []
    for start, size in _sound_descriptions(source):
        source.seek(start)
        data = source.read(min(size, _ENTRY.size))
        if len(data) < _ENTRY.size:
            continue
        _, kind, version, _, _, count, bits, flags, per_packet, frames = _ENTRY.unpack(data)
        if kind != b"lpcm" or version != 2 or flags & _IS_FLOAT or 0 in (count, frames):
            continue
        container_bits = 8 * per_packet // (count * frames)
        if bits >= container_bits:
            continue
        if container_bits > _MAX_BITS:
            raise MediaError(
                f"the file has {bits}-bit samples in packets of {per_packet} bytes for {frames} × "
                f"{count} channels, which can't be read; {REMEDY}"
            )
        if not flags & _IS_ALIGNED_HIGH:
            raise MediaError(
                f"the file's {bits}-bit samples are in the lower bits of {container_bits}-bit "
                f"containers; {REMEDY}"
            )
        patches.append((start + _BITS_AT, struct.pack(">I", container_bits)))
    source.seek(0)
    return SourceView(source, patches=patches) if patches else source


def _sound_descriptions(source: io.BufferedIOBase) -> Iterator[tuple[int, int]]:
    """Start and size of the data of each `stsd` atom; none for files of other formats."""
    source.seek(4)
    if source.read(4) not in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"):
        return
    end = source.seek(0, io.SEEK_END)
    ranges = [(0, end, 0)]  # atoms that are still to be listed, and how deep they are
    num_atoms = 0
    while ranges and num_atoms < _MAX_ATOMS:
        offset, stop, depth = ranges.pop()
        while offset + 8 <= stop and num_atoms < _MAX_ATOMS:
            num_atoms += 1
            source.seek(offset)
            head = source.read(16).ljust(16, b"\0")
            size, name, long_size = struct.unpack(">I4sQ", head)
            num_head = 16 if size == 1 else 8
            size = long_size if size == 1 else size or stop - offset
            if size < num_head:
                break
            if name == _PATH[depth]:
                if name == _PATH[-1]:
                    yield offset + num_head, size - num_head
                else:
                    ranges.append((offset + num_head, min(offset + size, stop), depth + 1))
            offset += size
