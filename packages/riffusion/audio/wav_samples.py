"""Uncompressed samples of WAV files that FFmpeg reads wrongly, from the header's own description.

A sample is in a container of whole bytes; the block alignment is the size of all containers of one
moment. Integers fill their container from the top (left-justified), so the container's width alone
gives their scale, however many bits are valid. FFmpeg goes by the valid bits instead, and reads
big-endian files (RIFX) as little-endian.

    RIFF or RIFX, size, WAVE, then chunks of (name, size, data); `fmt ` comes before `data`:
    tag u16, channels u16, rate u32, bytes per second u32, block alignment u16, bits u16,
    and if tag is 0xFFFE: size u16, valid bits u16, channel mask u32, GUID whose start is the tag
"""

import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from riffusion.audio.speakers import WAV_SPEAKERS
from riffusion.errors import MediaError

_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE
_GUID_ENDS = tuple(bytes.fromhex(start + "800000aa00389b71") for start in ("00001000", "00000010"))
"""End of a GUID that starts with a plain tag in four bytes, little-endian and big-endian."""
_W64_RIFF = b"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\x00\x00"
_MAX_CHUNKS = 1000
_READ_BYTES = 2**20
_MIN_COOL_EDIT, _MAX_COOL_EDIT = 1e-20, 2.0**25
"""Sizes of floats that are samples; integers that are read as floats exceed both, or are NaN."""
_REMEDY = "convert it to 16, 24 or 32 bits first"


@dataclass(frozen=True)
class WavSamples:
    """How a WAV file stores its samples.

    Args:
        sample_rate: in Hz.
        num_channels: number of channels.
        width: bytes of a sample's container.
        bits: bits of a sample that are valid.
        is_float: floats in place of integers.
        is_big_endian: byte order.
        is_extensible: the header is WAVE_FORMAT_EXTENSIBLE, which defines where the valid bits are.
        speakers: FFmpeg's name of each channel; empty if the file names none.
    """

    sample_rate: int
    num_channels: int
    width: int
    bits: int
    is_float: bool
    is_big_endian: bool
    is_extensible: bool
    speakers: tuple[str, ...]

    @property
    def is_usual(self) -> bool:
        """Whether FFmpeg reads such samples rightly."""
        is_full = self.bits == 8 * self.width
        return is_full and not self.is_big_endian and (self.is_float or self.width <= 4)

    def samples(self, data: bytes) -> npt.NDArray[Any]:
        """Whole blocks of bytes → (channels, samples): int16 up to 16 bits, else int32, or floats.

        Integers wider than 32 bits lose the bits below.
        """
        block = self.width * self.num_channels
        raw = np.frombuffer(data, np.uint8)[: len(data) // block * block]
        raw = raw.reshape(-1, self.num_channels, self.width)
        if self.is_big_endian:
            raw = raw[:, :, ::-1]
        if self.is_float:
            return raw.copy("C").view(f"<f{self.width}")[:, :, 0].T
        if self.width == 1:
            return (raw[:, :, 0].astype(np.int16) - 128).T * 256
        top = np.zeros((*raw.shape[:2], 2 if self.width == 2 else 4), np.uint8)
        kept = min(self.width, top.shape[2])
        top[:, :, -kept:] = raw[:, :, -kept:]
        return top.view(f"<i{top.shape[2]}")[:, :, 0].T

    def checked(self, samples: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """All samples of the file, (channels, samples), if their bits are where they belong.

        Before there was WAVE_FORMAT_EXTENSIBLE, Cool Edit stored 32-bit floats in the scale of its
        16-bit or 24-bit integers; such samples become floats in [-1, 1].

        Raises:
            MediaError: the samples are integers that don't fill their container from the top.
        """
        unused = 8 * self.width - self.bits
        if self.is_float or unused <= 0 or not 2 <= self.width <= 4:
            return samples
        if not self.is_extensible and self.width == 4 and self.bits in (16, 24):
            floats = np.ascontiguousarray(samples, "<i4").view(np.float32)
            sizes = np.abs(floats[floats != 0])
            if sizes.size and sizes.min() >= _MIN_COOL_EDIT and sizes.max() <= _MAX_COOL_EDIT:
                return floats / np.float32(2 ** (self.bits - 1))
        unused += 8 * (samples.itemsize - self.width)
        in_use = 1 << (self.bits - 1 + 8 * (samples.itemsize - self.width))
        if (
            -in_use <= samples.min()
            and samples.max() < in_use
            and np.any(samples & (2**unused - 1))
        ):
            raise MediaError(
                f"the file's {self.bits}-bit samples are in the lower bits of {8 * self.width}-bit "
                f"containers, where the format has the upper ones; {_REMEDY}"
            )
        return samples


class WavData(NamedTuple):
    """Where a file's samples are, and how they are stored."""

    samples: WavSamples
    start: int
    size: int

    def blocks(self, source: io.BufferedIOBase) -> Iterator[npt.NDArray[Any]]:
        """Iterate over parts of the samples, (channels, samples) each, up to the file's end."""
        block = self.samples.width * self.samples.num_channels
        source.seek(self.start)
        rest = self.size // block * block
        while rest > 0:
            data = source.read(min(rest, max(_READ_BYTES // block, 1) * block))
            if len(data) < block:
                return
            rest -= len(data)
            yield self.samples.samples(data)


def unusual_wav_data(source: io.BufferedIOBase) -> WavData | None:
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


def _find_data(source: io.BufferedIOBase) -> WavData | None:
    magic = source.read(16)
    is_wave64 = magic == _W64_RIFF
    if not is_wave64 and (
        magic[:4] not in (b"RIFF", b"RIFX", b"RF64", b"BW64") or magic[8:12] != b"WAVE"
    ):
        return None
    is_big_endian = magic[:4] == b"RIFX"
    name_size, align = (16, 8) if is_wave64 else (4, 2)
    number = struct.Struct((">" if is_big_endian else "<") + ("Q" if is_wave64 else "I"))
    samples: WavSamples | None = None
    long_size = None
    offset = 40 if is_wave64 else 12
    for _ in range(_MAX_CHUNKS):
        source.seek(offset)
        head = source.read(name_size + number.size)
        if len(head) < name_size + number.size:
            return None
        offset += len(head)
        name, size = head[:4], number.unpack_from(head, name_size)[0]
        if is_wave64:
            size -= len(head)
            if size < 0:
                return None
        if name == b"fmt ":
            samples = _from_header(source.read(min(size, 64)), is_big_endian)
            if samples is None or samples.is_usual:
                return None
        elif name == b"ds64":
            long_size = struct.unpack("<8xQ", source.read(16).ljust(16, b"\0"))[0]
        elif name == b"data":
            if samples is None:
                return None
            if not is_wave64 and size == 2**32 - 1:  # RF64, or the length wasn't known
                size = long_size or 2**63
            return WavData(samples, offset, size)
        offset += size + -size % align
    return None


def _from_header(chunk: bytes, is_big_endian: bool) -> WavSamples | None:
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
    if tag not in (_PCM, _FLOAT):
        if is_big_endian and tag not in (6, 7):  # A-law and µ-law are single bytes
            raise MediaError(f"the file is big-endian (RIFX) with format tag {tag}; {_REMEDY}")
        return None
    if count == 0 or block == 0 or rate == 0 or bits == 0:
        return None  # FFmpeg refuses these, or finds the missing value by itself
    width, rest = divmod(block, count)
    valid = valid or bits
    fits = width in (4, 8) and bits == 8 * width if tag == _FLOAT else valid <= 8 * width <= 64
    if rest or not fits:
        kind = "float" if tag == _FLOAT else "integer"
        raise MediaError(
            f"the file has {valid}-bit {kind} samples in blocks of {block} bytes for {count} "
            f"channels, which can't be read; {_REMEDY}"
        )
    return WavSamples(
        sample_rate=rate,
        num_channels=count,
        width=width,
        bits=8 * width if tag == _FLOAT else valid,
        is_float=tag == _FLOAT,
        is_big_endian=is_big_endian,
        is_extensible=is_extensible,
        speakers=_speakers(mask, count),
    )


def _speakers(mask: int, num_channels: int) -> tuple[str, ...]:
    named = tuple(name for bit, name in enumerate(WAV_SPEAKERS) if mask >> bit & 1)
    return named if len(named) == num_channels else ()
