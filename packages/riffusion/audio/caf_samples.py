"""Samples of Core Audio files (CAF) that FFmpeg reads wrongly, and a size that it needs right.

caff, version u16, flags u16, then chunks of (name, size i64, data):
`desc`: rate f64, format, flags u32 (1: floats, 2: little-endian), bytes per packet u32,
        frames per packet u32, channels u32, bits u32
`pakt`: number of packets i64, valid frames i64, priming frames i32, remainder frames i32
`data`: edit count u32, then the samples; a size of -1 reaches to the end of the file

Numbers are big-endian.
"""

import io
import struct
from collections.abc import Iterator

from riffusion.audio.raw_samples import REMEDY, SampleData, SampleFormat
from riffusion.audio.source_view import SourceView
from riffusion.audio.speakers import WAV_SPEAKERS
from riffusion.errors import MediaError

_HEAD = struct.Struct(">4sq")
_DESC = struct.Struct(">d4sIIIII")
_PAKT = struct.Struct(">qqii")
_IS_FLOAT, _IS_LITTLE_ENDIAN = 1, 2
_LAYOUT_IS_BITMAP = 1 << 16
"""Tag of a channel layout whose speakers are bits, the same ones as in WAV files."""
_MAX_CHUNKS = 1000


def unusual_caf_data(source: io.BufferedIOBase) -> SampleData | None:
    """The samples of a Core Audio file whose containers have more bits than its samples.

    The position in `source` is at its start afterwards.

    Returns:
        None for other files, and for samples that FFmpeg reads rightly.

    Raises:
        MediaError: a header that contradicts itself.
    """
    desc: tuple[int, ...] | None = None
    speakers: tuple[str, ...] = ()
    for name, start, size in _chunks(source):
        source.seek(start)
        if name == b"desc":
            desc = _description(source.read(_DESC.size))
            if desc is None:
                break
        elif name == b"chan":
            tag, bitmap = struct.unpack(">II", source.read(8).ljust(8, b"\0"))
            if tag == _LAYOUT_IS_BITMAP:
                speakers = tuple(s for bit, s in enumerate(WAV_SPEAKERS) if bitmap >> bit & 1)
        elif name == b"data" and desc is not None:
            source.seek(0)
            rate, flags, width, count, bits = desc
            return SampleData(
                SampleFormat(
                    sample_rate=rate,
                    num_channels=count,
                    width=width,
                    bits=bits,
                    is_big_endian=not flags & _IS_LITTLE_ENDIAN,
                    speakers=speakers if len(speakers) == count else (),
                ),
                start + 4,
                size - 4,
            )
    source.seek(0)
    return None


def with_true_remainder(source: io.BufferedIOBase) -> io.BufferedIOBase:
    """Correct the number of frames that a Core Audio file leaves out of its last packet.

    Audio that fills its last packet leaves out none, but libsndfile writes a whole packet's frames
    then, and FFmpeg drops that packet.
    """
    per_packet = 0
    for name, start, _ in _chunks(source):
        source.seek(start)
        if name == b"desc":
            desc = source.read(_DESC.size)
            per_packet = _DESC.unpack(desc)[4] if len(desc) == _DESC.size else 0
        elif name == b"pakt":
            data = source.read(_PAKT.size)
            if len(data) < _PAKT.size:
                break
            num_packets, valid, priming, remainder = _PAKT.unpack(data)
            if 0 < per_packet == remainder and num_packets * per_packet == valid + priming:
                return SourceView(source, patches=[(start + _PAKT.size - 4, bytes(4))])
    source.seek(0)
    return source


def _description(data: bytes) -> tuple[int, ...] | None:
    """Rate, flags, width, channels and bits of padded integers; None for anything else."""
    if len(data) < _DESC.size:
        return None
    rate, kind, flags, per_packet, frames, count, bits = _DESC.unpack(data)
    if (
        kind != b"lpcm"
        or flags & _IS_FLOAT
        or not 0 < rate < 2**32
        or 0 in (per_packet, frames, count)
    ):
        return None
    width, rest = divmod(per_packet, frames * count)
    if rest or bits > 8 * width or bits == 0 or width > 8:
        raise MediaError(
            f"the file has {bits}-bit samples in packets of {per_packet} bytes for {frames} × "
            f"{count} channels, which can't be read; {REMEDY}"
        )
    return None if bits == 8 * width or width < 2 else (round(rate), flags, width, count, bits)


def _chunks(source: io.BufferedIOBase) -> Iterator[tuple[bytes, int, int]]:
    """Name, start and size of each chunk; none for other files."""
    source.seek(0)
    if source.read(4) != b"caff":
        return
    offset = 8
    for _ in range(_MAX_CHUNKS):
        source.seek(offset)
        head = source.read(_HEAD.size)
        if len(head) < _HEAD.size:
            return
        name, size = _HEAD.unpack(head)
        offset += _HEAD.size
        yield name, offset, size if size >= 0 else 2**63
        if not 0 <= size < 2**62:
            return
        offset += size
