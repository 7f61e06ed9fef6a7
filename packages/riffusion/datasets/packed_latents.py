"""File format for latents at one byte per value; `latent_files` replaces a split's images by them.

A latent value z, scaled to about unit standard deviation, is stored as round(levels · z), clipped
to ±127, in one byte. The error of uniform rounding has a standard deviation of 1 / (levels · √12):
0.036 at 8 levels per unit, 0.072 at 4 (Gersho & Gray 1992, "Vector Quantization and Signal
Compression", section 5.6).

`shard-00000`, … are byte tensors, each an xz stream of the latents of 256 rows (the last one of
fewer), (rows, channels, height, width). LZMA exploits the repeated bars of a loop, which Huffman
coding alone would not. xz includes a checksum, and a stream is never expanded beyond the size in
the header. The header also has a fingerprint of the encoder, since latents are meaningless to any
other.
"""

import hashlib
import json
import lzma
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from pydantic import AliasChoices, Field, ValidationError
from safetensors import SafetensorError, safe_open

from riffusion.checkpoint.autoencoders import ENCODER_WEIGHTS, Autoencoder
from riffusion.datasets.config import Count, Section
from riffusion.datasets.tensor_files import write_tensors
from riffusion.errors import InputError

MAX_LEVELS = 64
"""At this number of levels, values beyond two standard deviations are clipped."""

_FORMAT = 1
_HEADER = "packed_latents"
ROWS_PER_STREAM = 256
"""Rows of each xz stream of a file, except for the last one, which may have fewer."""
_LZMA_FILTERS = [{"id": lzma.FILTER_LZMA2, "preset": 6, "lc": 4, "lp": 0, "pb": 0}]
"""Symbols are single bytes without alignment (`pb`, `lp`), predicted from the one before (`lc`)."""


class PackedHeader(Section):
    """Header of a file of packed latents.

    Args:
        format: version of the file format.
        levels: quantisation levels per unit.
        rows: number of rows.
        shape: (channels, height, width) of each row.
        image: (height, width) of the images, in pixels; `picture` in the file.
        encoder: see `encoder_fingerprint`.
    """

    format: int = _FORMAT
    levels: int = Field(ge=1, le=MAX_LEVELS)
    rows: Count
    shape: tuple[Count, Count, Count]
    image: tuple[Count, Count] = Field(
        validation_alias=AliasChoices("image", "picture"), serialization_alias="picture"
    )
    encoder: str


def encoder_fingerprint(vae: Autoencoder) -> str:
    """Hash of a VAE's encoder, independent of its decoder.

    Weights are hashed in half precision, the precision of saved checkpoints, so that a VAE has the
    same fingerprint before and after saving.
    """
    digest = hashlib.sha256(repr(float(vae.config.scaling_factor)).encode())
    for name, tensor in sorted(vae.state_dict().items()):
        if name.startswith(ENCODER_WEIGHTS):
            digest.update(name.encode())
            digest.update(np.ascontiguousarray(tensor.half().cpu().numpy()).tobytes())
    return digest.hexdigest()[:16]


@dataclass(frozen=True)
class Stream:
    """Some packed rows.

    Args:
        rows: number of rows.
        data: an xz stream, a byte tensor.
        num_cut: number of values that were clipped.
    """

    rows: int
    data: torch.Tensor
    num_cut: int


def packed_streams(
    latents: torch.Tensor, levels: int, rows_per_stream: int = ROWS_PER_STREAM
) -> Iterator[Stream]:
    """Pack latents (rows, channels, height, width), scaled; see `write_latents`."""
    for first in range(0, len(latents), rows_per_stream):
        scaled = (latents[first : first + rows_per_stream].float() * levels).round()
        data = lzma.compress(
            scaled.clamp(-127, 127).to(torch.int8).contiguous().numpy().tobytes(),
            format=lzma.FORMAT_XZ,
            filters=_LZMA_FILTERS,
        )
        yield Stream(
            rows=len(scaled),
            data=torch.frombuffer(bytearray(data), dtype=torch.uint8),
            num_cut=int((scaled.abs() > 127).sum()),
        )


def write_streams(path: Path, streams: Sequence[Stream], header: PackedHeader) -> None:
    """Write packed rows as one file.

    Args:
        path: the file; replaced if it exists.
        streams: each has `ROWS_PER_STREAM` rows, except for the last one.
        header: its `rows` is replaced by the number of rows of all streams.

    Raises:
        InputError: the file can't be written.
    """
    rows = sum(stream.rows for stream in streams)
    text = header.model_copy(update={"rows": rows}).model_dump_json(by_alias=True)
    tensors = {
        _stream_name(number * ROWS_PER_STREAM): stream.data for number, stream in enumerate(streams)
    }
    write_tensors(tensors, path, "latents", metadata={_HEADER: text})


def write_latents(
    path: Path, latents: torch.Tensor, levels: int, image: tuple[int, int], encoder: str
) -> float:
    """Pack latents into one file; `read_latents` is the inverse, except for rounding and clipping.

    Args:
        path: the file; replaced if it exists.
        latents: (rows, channels, height, width), scaled.
        levels: quantisation levels per unit, 1 to `MAX_LEVELS`.
        image: (height, width) of the images in pixels.
        encoder: see `encoder_fingerprint`.

    Returns:
        The share of values beyond ±127 / levels, which were clipped.

    Raises:
        InputError: the file can't be written.
    """
    streams = list(packed_streams(latents, levels))
    write_streams(path, streams, header_of(latents, levels, image, encoder))
    return sum(stream.num_cut for stream in streams) / latents.numel()


def header_of(
    latents: torch.Tensor, levels: int, image: tuple[int, int], encoder: str
) -> PackedHeader:
    """The header of a file of these latents; see `write_latents` for the arguments."""
    channels, height, width = latents.shape[1:]
    return PackedHeader(
        levels=levels,
        rows=len(latents),
        shape=(channels, height, width),
        image=image,
        encoder=encoder,
    )


def read_latents(path: Path) -> tuple[PackedHeader, torch.Tensor]:
    """Unpack the latents of one file.

    Returns:
        The header, and the latents (rows, channels, height, width), float16.

    Raises:
        InputError: the file is missing or damaged.
    """
    try:
        with safe_open(path, "pt") as file:
            text = (file.metadata() or {}).get(_HEADER, "null")
            header = PackedHeader.model_validate(json.loads(text))
            if header.format != _FORMAT:
                raise ValueError(f"format {header.format} is not supported")
            parts = [
                _unpacked(bytes(file.get_tensor(_stream_name(first)).numpy()), header, first)
                for first in range(0, header.rows, ROWS_PER_STREAM)
            ]
    except ValidationError as error:
        raise damaged(path, "it has no header of packed latents") from error
    except (OSError, SafetensorError, ValueError, EOFError, lzma.LZMAError) as error:
        raise damaged(path, " ".join(str(error).split())[:200]) from error
    return header, torch.cat(parts)


def _unpacked(data: bytes, header: PackedHeader, first: int) -> torch.Tensor:
    """A shard's latents, float16."""
    rows = min(ROWS_PER_STREAM, header.rows - first)
    size = rows * int(np.prod(header.shape))
    decompressor = lzma.LZMADecompressor(lzma.FORMAT_XZ)
    values = decompressor.decompress(data, max_length=size)
    if len(values) == size and not decompressor.eof:
        values += decompressor.decompress(b"", max_length=1)  # reads the checksum
    if len(values) != size or not decompressor.eof:
        raise ValueError(f"{_stream_name(first)} does not hold {rows} rows")
    packed = torch.frombuffer(bytearray(values), dtype=torch.int8).reshape(rows, *header.shape)
    return packed.half() / header.levels


def _stream_name(first: int) -> str:
    return f"shard-{first // ROWS_PER_STREAM:05}"


def damaged(path: Path, reason: str) -> InputError:
    """The error for latents that can't be read."""
    return InputError(
        f"latents={str(path)!r} cannot be read ({reason}); copy the data set again, or encode it "
        "again with `riffusion dataset encode`"
    )
