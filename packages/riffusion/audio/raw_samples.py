"""Uncompressed samples that FFmpeg reads wrongly or not at all, by their file's own description.

A sample is in a container of whole bytes; the block alignment is the size of all containers of one
moment. Integers fill their container from the top (left-justified), so the container's width alone
gives their scale, however many bits are valid. FFmpeg goes by the valid bits instead.
"""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from riffusion.errors import MediaError

Encoding = Literal["integer", "float", "alaw", "mulaw"]

REMEDY = "convert it to 16, 24 or 32 bits first"
"""What to do with samples that can't be read."""
_READ_BYTES = 2**20
_MIN_COOL_EDIT, _MAX_COOL_EDIT = 1e-20, 2.0**25
"""Sizes of floats that are samples; integers that are read as floats exceed both, or are NaN."""


@dataclass(frozen=True)
class SampleFormat:
    """How a file stores its samples.

    Args:
        sample_rate: in Hz.
        num_channels: number of channels.
        width: bytes of a sample's container.
        bits: bits of a sample that are valid.
        encoding: integers, floats, or one of the two logarithmic codes of telephony (G.711), whose
            samples are single bytes.
        is_big_endian: byte order.
        has_unsigned_bytes: integers of one byte are from 0 to 255, as in WAV files.
        defines_padding: the file's format defines where a container's valid bits are. The plain WAV
            header doesn't; WAVE_FORMAT_EXTENSIBLE does.
        speakers: FFmpeg's name of each channel; empty if the file names none.
    """

    sample_rate: int
    num_channels: int
    width: int
    bits: int
    encoding: Encoding = "integer"
    is_big_endian: bool = False
    has_unsigned_bytes: bool = False
    defines_padding: bool = True
    speakers: tuple[str, ...] = ()

    @property
    def block(self) -> int:
        """Bytes of one moment, for all channels."""
        return self.width * self.num_channels

    def samples(self, data: bytes) -> npt.NDArray[Any]:
        """Whole blocks of bytes → (channels, samples): int16 up to 16 bits, else int32, or floats.

        Integers wider than 32 bits lose the bits below.
        """
        raw = np.frombuffer(data, np.uint8)[: len(data) // self.block * self.block]
        raw = raw.reshape(-1, self.num_channels, self.width)
        if self.encoding in ("alaw", "mulaw"):
            return _g711_levels(self.encoding)[raw[:, :, 0]].T
        if self.is_big_endian:
            raw = raw[:, :, ::-1]
        if self.encoding == "float":
            return raw.copy("C").view(f"<f{self.width}")[:, :, 0].T
        if self.width == 1 and self.has_unsigned_bytes:
            return (raw[:, :, 0].astype(np.int16) - 128).T * 256
        top = np.zeros((*raw.shape[:2], 2 if self.width <= 2 else 4), np.uint8)
        kept = min(self.width, top.shape[2])
        top[:, :, -kept:] = raw[:, :, -kept:]
        return top.view(f"<i{top.shape[2]}")[:, :, 0].T


class Padding:
    """Checks, block by block, that the bits of a file's integers are where they belong.

    Before there was WAVE_FORMAT_EXTENSIBLE, Cool Edit stored 32-bit floats in the scale of its
    16-bit or 24-bit integers. Only all samples together tell such floats from integers.
    """

    def __init__(self, format: SampleFormat) -> None:
        self._format = format
        unused = 8 * format.width - format.bits
        self._is_padded = format.encoding == "integer" and unused > 0 and 2 <= format.width <= 4
        self._may_be_floats = (
            not format.defines_padding and format.width == 4 and format.bits in (16, 24)
        )
        self._low, self._high = 0, 0
        self._has_low_bits = False
        self._smallest, self._largest = np.float32(np.inf), np.float32(0)

    def add(self, samples: npt.NDArray[Any]) -> None:
        """Look at the next samples, (channels, samples)."""
        if not self._is_padded or not samples.size:
            return
        format = self._format
        unused = 8 * samples.itemsize - format.bits
        self._low = min(self._low, int(samples.min()))
        self._high = max(self._high, int(samples.max()))
        self._has_low_bits |= bool(np.any(samples & (2**unused - 1)))
        if self._may_be_floats:
            floats = np.ascontiguousarray(samples, "<i4").view(np.float32)
            sizes = np.abs(floats[floats != 0])  # NaN stays NaN below, and is no sample
            self._smallest = np.minimum(self._smallest, sizes.min(initial=np.inf))
            self._largest = np.maximum(self._largest, sizes.max(initial=0))

    def are_floats(self) -> bool:
        """Whether all samples so far are Cool Edit's floats; `floats` has their values then.

        Raises:
            MediaError: the samples are integers that don't fill their container from the top.
        """
        if not self._is_padded:
            return False
        if (
            self._may_be_floats
            and self._largest > 0
            and self._smallest >= _MIN_COOL_EDIT
            and self._largest <= _MAX_COOL_EDIT
        ):
            return True
        format = self._format
        in_use = 1 << (format.bits - 1 + (8 * (2 if format.width <= 2 else 4) - 8 * format.width))
        if -in_use <= self._low and self._high < in_use and self._has_low_bits:
            raise MediaError(
                f"the file's {format.bits}-bit samples are in the lower bits of "
                f"{8 * format.width}-bit containers, where the format has the upper ones; {REMEDY}"
            )
        return False

    def floats(self, samples: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """Cool Edit's floats, which were read as integers, in [-1, 1]."""
        floats = np.ascontiguousarray(samples, "<i4").view(np.float32)
        return np.asarray(floats / np.float32(2 ** (self._format.bits - 1)))


class SampleData(NamedTuple):
    """Where a file's samples are, and how they are stored."""

    format: SampleFormat
    start: int
    size: int

    def blocks(self, source: io.BufferedIOBase) -> Iterator[npt.NDArray[Any]]:
        """Iterate over parts of the samples, (channels, samples) each, up to the file's end."""
        block = self.format.block
        source.seek(self.start)
        rest = self.size // block * block
        while rest > 0:
            data = source.read(min(rest, max(_READ_BYTES // block, 1) * block))
            if len(data) < block:
                return
            rest -= len(data)
            yield self.format.samples(data)


def _g711_levels(encoding: Encoding) -> npt.NDArray[np.int16]:
    """The 16-bit levels of the 256 codes of A-law or µ-law (ITU-T G.711)."""
    codes = np.arange(256)
    if encoding == "mulaw":
        codes = codes ^ 0xFF
        sizes = (((codes & 15) << 3) + 0x84 << (codes >> 4 & 7)) - 0x84
        return np.asarray(np.where(codes & 0x80, -sizes, sizes), np.int16)
    codes = codes ^ 0x55
    segments = codes >> 4 & 7
    sizes = ((codes & 15) << 4) + np.where(segments > 0, 0x108, 8) << np.maximum(segments - 1, 0)
    return np.asarray(np.where(codes & 0x80, sizes, -sizes), np.int16)
