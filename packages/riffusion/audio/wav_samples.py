"""Samples of WAV files that FFmpeg reads wrongly or not at all, from the header's own description.

    RIFF or RIFX, size, WAVE, then chunks of (name, size, data); `fmt ` comes before `data`:
    tag u16, channels u16, rate u32, bytes per second u32, block alignment u16, bits u16,
    and if tag is 0xFFFE: size u16, valid bits u16, channel mask u32, GUID whose start is the tag

RIFX is the big-endian variant. RF64 (also BW64) and Wave64 are for long files. A recorder that was
interrupted leaves sizes of 0, and some programs forget the byte that follows a chunk of odd size.
"""

import io
import struct
from typing import NamedTuple

from riffusion.audio.raw_samples import REMEDY, Encoding, SampleData, SampleFormat
from riffusion.audio.speakers import WAV_SPEAKERS
from riffusion.errors import MediaError

_ENCODINGS: dict[int, Encoding] = {1: "integer", 3: "float", 6: "alaw", 7: "mulaw"}
"""Encodings by the format tags that are read here."""
_EXTENSIBLE = 0xFFFE
_NMS_ADPCM, _NMS_BITS = 0x38, (2, 3, 4)
"""A codec whose tag FFmpeg takes for AMR's; AMR has more bits, or none, in its header."""
_GUID_ENDS = tuple(bytes.fromhex(start + "800000aa00389b71") for start in ("00001000", "00000010"))
"""End of a GUID that starts with a plain tag in four bytes, little-endian and big-endian."""
_W64_RIFF = b"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\x00\x00"
_MAX_CHUNKS = 1000
_TO_THE_END = 2**63
_SIZE_UNKNOWN = 2**32 - 1


class _Header(NamedTuple):
    """A `fmt ` chunk: the samples, and whether FFmpeg reads them rightly."""

    format: SampleFormat
    is_usual: bool


def unusual_wav_data(source: io.BufferedIOBase) -> SampleData | None:
    """The samples of a WAV or Wave64 file that has to be read without FFmpeg.

    The position in `source` is at its start afterwards.

    Returns:
        None for other files, and for samples that FFmpeg reads rightly.

    Raises:
        MediaError: a header that contradicts itself, or samples that can't be read.
    """
    try:
        return _find_data(source)
    finally:
        source.seek(0)


def _find_data(source: io.BufferedIOBase) -> SampleData | None:
    magic = source.read(16)
    is_wave64 = magic == _W64_RIFF
    if not is_wave64 and (
        magic[:4] not in (b"RIFF", b"RIFX", b"RF64", b"BW64") or magic[8:12] != b"WAVE"
    ):
        return None
    is_big_endian = magic[:4] == b"RIFX"
    name_size, align = (16, 8) if is_wave64 else (4, 2)
    number = struct.Struct((">" if is_big_endian else "<") + ("Q" if is_wave64 else "I"))
    header: _Header | None = None
    is_regular = True
    empty: SampleData | None = None
    long_size = None
    offset = 40 if is_wave64 else 12
    for _ in range(_MAX_CHUNKS):
        source.seek(offset)
        head = source.read(name_size + number.size)
        if len(head) < name_size + number.size:
            return empty
        offset += len(head)
        name, size = head[:4], number.unpack_from(head, name_size)[0]
        if is_wave64:
            size -= len(head)
            if not 0 <= size < _TO_THE_END // 2:
                return None
        if name == b"fmt ":
            header = _from_header(source.read(min(size, 64)), is_big_endian)
            if header is None:
                return None
        elif name == b"ds64":
            long_size = struct.unpack("<8xQ", source.read(16).ljust(16, b"\0"))[0]
        elif name == b"data":
            if header is None:
                return None
            if not is_wave64 and size == _SIZE_UNKNOWN:  # RF64, or the length wasn't known
                size, is_regular = long_size or _TO_THE_END, is_regular and long_size != 0
            elif size == 0 and _are_chunks(source, offset, number):
                # FFmpeg would read the chunks that follow as samples.
                empty, is_regular = SampleData(header.format, offset, 0), False
                continue
            elif size == 0:
                size = _TO_THE_END
            is_usual = header.is_usual and is_regular
            return None if is_usual else SampleData(header.format, offset, size)
        offset += size
        if size % align:
            offset += -size % align
            if not is_wave64 and not _is_name(source, offset) and _is_name(source, offset - 1):
                offset, is_regular = offset - 1, False
    return None


def _is_name(source: io.BufferedIOBase, offset: int) -> bool:
    """Whether a chunk can begin at an offset: its name has only printable characters."""
    source.seek(offset)
    name = source.read(4)
    return len(name) == 4 and all(32 <= byte < 127 for byte in name)


def _are_chunks(source: io.BufferedIOBase, offset: int, number: struct.Struct) -> bool:
    """Whether a WAV file from an offset to its end consists of chunks, at least one."""
    end = source.seek(0, io.SEEK_END)
    start = offset
    for _ in range(_MAX_CHUNKS):
        if offset >= end - 8 or not _is_name(source, offset):
            break
        source.seek(offset + 4)
        (size,) = number.unpack(source.read(number.size).ljust(number.size, b"\xff"))
        offset += 4 + number.size + size + size % 2
    return offset > start and offset in (end, end + 1)


def _from_header(chunk: bytes, is_big_endian: bool) -> _Header | None:
    order = ">" if is_big_endian else "<"
    if len(chunk) < 16:
        return None
    tag, count, rate, _, block, bits = struct.unpack_from(order + "HHIIHH", chunk)
    is_extensible, valid, mask = tag == _EXTENSIBLE and len(chunk) >= 40, bits, 0
    if is_extensible:
        valid, mask = struct.unpack_from(order + "HI", chunk, 18)
        guid = chunk[24:40]
        tag = struct.unpack_from(order + "I", guid)[0]
        if guid[4:] not in _GUID_ENDS:
            return None
    if tag == _NMS_ADPCM and bits in _NMS_BITS:
        raise MediaError(f"the file's codec is NMS ADPCM, which isn't read; {REMEDY}")
    if tag not in _ENCODINGS:
        if is_big_endian:
            raise MediaError(f"the file is big-endian (RIFX) with format tag {tag}; {REMEDY}")
        return None
    if count == 0 or rate == 0 or bits == block == 0:
        return None  # FFmpeg refuses these
    encoding = _ENCODINGS[tag]
    is_complete = bits > 0 and block > 0
    block = block or count * (-(-bits // 8))
    width, rest = divmod(block, count)
    bits = bits or 8 * width
    valid = valid or bits
    if encoding == "float":
        fits = width in (4, 8) and bits == 8 * width
    else:
        fits = width == 1 if encoding in ("alaw", "mulaw") else valid <= 8 * width <= 64
    if rest or not fits:
        kind = "integer" if encoding == "integer" else encoding
        raise MediaError(
            f"the file has {valid}-bit {kind} samples in blocks of {block} bytes for {count} "
            f"channels, which can't be read; {REMEDY}"
        )
    is_full = encoding != "integer" or (valid == 8 * width and width <= 4)
    return _Header(
        SampleFormat(
            sample_rate=rate,
            num_channels=count,
            width=width,
            bits=valid if encoding == "integer" else 8 * width,
            encoding=encoding,
            is_big_endian=is_big_endian,
            has_unsigned_bytes=True,
            defines_padding=is_extensible,
            speakers=_speakers(mask, count),
        ),
        is_usual=is_full and is_complete and not is_big_endian,
    )


def _speakers(mask: int, num_channels: int) -> tuple[str, ...]:
    named = tuple(name for bit, name in enumerate(WAV_SPEAKERS) if mask >> bit & 1)
    return named if len(named) == num_channels else ()
