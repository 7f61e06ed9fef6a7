"""File format for latents at one byte per value; it replaces the images of a data set.

    SPLIT/latents.safetensors    latents of the split's rows, in the order of its metadata.jsonl

A latent value z, scaled to about unit standard deviation, is stored as round(levels · z), clipped
to ±127, in one byte. The error of uniform rounding has a standard deviation of 1 / (levels · √12):
0.036 at 8 levels per unit, 0.072 at 4 (Gersho & Gray 1992, "Vector Quantization and Signal
Compression", section 5.6).

`shard-00000`, … are byte tensors, each an xz stream of the latents of 256 rows, (rows, channels,
height, width). LZMA exploits the repeated bars of a loop, which Huffman coding alone would not. xz
includes a checksum, and a stream is never expanded beyond the size in the header. The header also
has a fingerprint of the encoder, since latents are meaningless to any other.
"""

import hashlib
import json
import lzma
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from pydantic import AliasChoices, Field, ValidationError
from safetensors import SafetensorError, safe_open

from riffusion.datasets.config import Count, DataConfig, Section
from riffusion.datasets.folder import LATENTS_NAME, DatasetFolder, Split
from riffusion.datasets.tensor_files import write_tensors
from riffusion.errors import InputError

MAX_LEVELS = 64
"""At this number of levels, values beyond two standard deviations are clipped."""

_FORMAT = 1
_HEADER = "packed_latents"
_ROWS_PER_SHARD = 256
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


def has_latents(folder: DatasetFolder) -> bool:
    """Whether a data set holds latents instead of images."""
    return (folder.directory / "train" / LATENTS_NAME).is_file()


def encoder_fingerprint(vae: AutoencoderKL) -> str:
    """Hash of a VAE's encoder, independent of its decoder.

    Weights are hashed in half precision, the precision of saved checkpoints, so that a VAE has the
    same fingerprint before and after saving.
    """
    digest = hashlib.sha256(repr(float(vae.config.scaling_factor)).encode())
    for name, tensor in sorted(vae.state_dict().items()):
        if name.startswith(("encoder.", "quant_conv.")):
            digest.update(name.encode())
            digest.update(np.ascontiguousarray(tensor.half().cpu().numpy()).tobytes())
    return digest.hexdigest()[:16]


def write_latents(
    path: Path, latents: torch.Tensor, levels: int, image: tuple[int, int], encoder: str
) -> float:
    """Pack latents; `read_latents` is the inverse, except for rounding and clipping.

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
    shards = {}
    num_cut = 0
    for first in range(0, len(latents), _ROWS_PER_SHARD):
        scaled = (latents[first : first + _ROWS_PER_SHARD].float() * levels).round()
        num_cut += int((scaled.abs() > 127).sum())
        data = lzma.compress(
            scaled.clamp(-127, 127).to(torch.int8).contiguous().numpy().tobytes(),
            format=lzma.FORMAT_XZ,
            filters=_LZMA_FILTERS,
        )
        shards[_shard_name(first)] = torch.frombuffer(bytearray(data), dtype=torch.uint8)
    channels, height, width = latents.shape[1:]
    header = PackedHeader(
        levels=levels,
        rows=len(latents),
        shape=(channels, height, width),
        image=image,
        encoder=encoder,
    )
    write_tensors(
        shards, path, "latents", metadata={_HEADER: header.model_dump_json(by_alias=True)}
    )
    return num_cut / latents.numel()


def read_latents(path: Path) -> tuple[PackedHeader, torch.Tensor]:
    """Unpack latents.

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
                _unpacked(bytes(file.get_tensor(_shard_name(first)).numpy()), header, first)
                for first in range(0, header.rows, _ROWS_PER_SHARD)
            ]
    except ValidationError as error:
        raise _damaged(path, "it has no header of packed latents") from error
    except (OSError, SafetensorError, ValueError, EOFError, lzma.LZMAError) as error:
        raise _damaged(path, " ".join(str(error).split())[:200]) from error
    return header, torch.cat(parts)


def load_latents(
    folder: DatasetFolder, split: Split, vae: AutoencoderKL, config: DataConfig
) -> torch.Tensor:
    """Read a data set's packed latents, and check that they fit the VAE and the configuration.

    Args:
        folder: a data set for which `has_latents` is true.
        split: the split to read.
        vae: must have the encoder that the latents were made with.
        config: the training's `data` section.

    Returns:
        (rows, channels, height, width), float16.

    Raises:
        InputError: the latents are from another encoder, have another image size or number of rows,
            or are missing or damaged.
    """
    path = folder.directory / split / LATENTS_NAME
    header, latents = read_latents(path)
    where = f"data.dataset={str(folder.directory)!r}"
    if header.encoder != (encoder := encoder_fingerprint(vae)):
        raise InputError(
            f"{where} holds latents of encoder {header.encoder}, but the VAE has encoder {encoder};"
            " train with the VAE that `riffusion dataset encode` was given, or encode again"
        )
    side = config.resolution
    if side is not None and header.image != (side, side):
        height, width = header.image
        raise InputError(
            f"data.resolution={side} differs from the {width} x {height} pixels of the images that "
            f"{where} was encoded from; leave it out"
        )
    if header.rows != (num_rows := len(folder.rows(split))):
        raise _damaged(path, f"it has {header.rows} rows, the metadata has {num_rows}")
    return latents


def _unpacked(data: bytes, header: PackedHeader, first: int) -> torch.Tensor:
    """A shard's latents, float16."""
    rows = min(_ROWS_PER_SHARD, header.rows - first)
    size = rows * int(np.prod(header.shape))
    decompressor = lzma.LZMADecompressor(lzma.FORMAT_XZ)
    values = decompressor.decompress(data, max_length=size)
    if len(values) == size and not decompressor.eof:
        values += decompressor.decompress(b"", max_length=1)  # reads the checksum
    if len(values) != size or not decompressor.eof:
        raise ValueError(f"{_shard_name(first)} does not hold {rows} rows")
    packed = torch.frombuffer(bytearray(values), dtype=torch.int8).reshape(rows, *header.shape)
    return packed.half() / header.levels


def _shard_name(first: int) -> str:
    return f"shard-{first // _ROWS_PER_SHARD:05}"


def _damaged(path: Path, reason: str) -> InputError:
    return InputError(
        f"latents={str(path)!r} cannot be read ({reason}); copy the data set again, or encode it "
        "again with `riffusion dataset encode`"
    )
