"""Little-endian samples of AIFF-C and AU files, which FFmpeg reads wrongly or not at all.

FORM, size u32, AIFC, then chunks of (name, size u32, data, a byte if the size is odd):
`COMM`: channels i16, frames u32, bits i16, rate f80, compression; `SSND`: offset u32, 4 bytes
dns. (.snd backwards), then little-endian u32: start, size, encoding, rate, channels

Big-endian files are left to FFmpeg.
"""

import io
import struct

from riffusion.audio.raw_samples import Encoding, SampleData, SampleFormat

_AIFF_WIDTHS = {b"sowt": (3, 4), b"42ni": (3,), b"42n1": (3,), b"23ni": (4,)}
"""Little-endian compression types of AIFF-C: bytes of their samples, without what FFmpeg reads.
`42n1` is how libsndfile writes `42ni`."""
_AU_ENCODINGS: dict[int, tuple[int, Encoding]] = {
    1: (1, "mulaw"),
    2: (1, "integer"),
    3: (2, "integer"),
    4: (3, "integer"),
    5: (4, "integer"),
    6: (4, "float"),
    7: (8, "float"),
    27: (1, "alaw"),
}
"""Bytes of a sample and its encoding, by AU's number."""
_AU_SIZE_UNKNOWN = 2**32 - 1
_MAX_CHUNKS = 1000


def little_endian_data(source: io.BufferedIOBase) -> SampleData | None:
    """The samples of a little-endian AIFF-C or AU file that FFmpeg can't read.

    The position in `source` is at its start afterwards.

    Returns:
        None for other files.
    """
    head = source.read(24)
    try:
        if head[:4] == b"FORM" and head[8:12] == b"AIFC":
            return _aiff_data(source)
        return _au_data(head) if head[:4] == b"dns." and len(head) == 24 else None
    finally:
        source.seek(0)


def _aiff_data(source: io.BufferedIOBase) -> SampleData | None:
    samples: SampleFormat | None = None
    offset = 12
    for _ in range(_MAX_CHUNKS):
        source.seek(offset)
        head = source.read(8)
        if len(head) < 8:
            return None
        name, size = struct.unpack(">4sI", head)
        offset += 8
        if name == b"COMM":
            samples = _from_comm(source.read(min(size, 64)))
            if samples is None:
                return None
        elif name == b"SSND" and samples is not None:
            (skipped,) = struct.unpack(">I", source.read(4).ljust(4, b"\0"))
            return SampleData(samples, offset + 8 + skipped, size - 8 - skipped)
        offset += size + size % 2
    return None


def _from_comm(chunk: bytes) -> SampleFormat | None:
    if len(chunk) < 22:
        return None
    count, _, bits, exponent, mantissa, kind = struct.unpack_from(">hIhHQ4s", chunk)
    width = -(-bits // 8)
    if width not in _AIFF_WIDTHS.get(kind, ()) or count < 1:
        return None
    rate = round(mantissa * 2.0 ** ((exponent & 0x7FFF) - 16383 - 63)) if exponent < 17000 else 0
    return SampleFormat(rate, count, width, bits)


def _au_data(head: bytes) -> SampleData | None:
    start, size, number, rate, count = struct.unpack_from("<IIIII", head, 4)
    if number not in _AU_ENCODINGS or count == 0:
        return None
    width, encoding = _AU_ENCODINGS[number]
    return SampleData(
        SampleFormat(rate, count, width, 8 * width, encoding),
        start,
        2**63 if size == _AU_SIZE_UNKNOWN else size,
    )
