"""The latents of a split: one file, or several of at most 10 MB, which are copied one by one.

    SPLIT/latents.safetensors          if all latents fit into one file
    SPLIT/latents.index.json           otherwise: the files' names, rows, sizes and SHA-256 hashes
    SPLIT/latents-00001.safetensors    the first rows, in the order of metadata.jsonl
    SPLIT/latents-00002.safetensors    the next ones; …

Each file has the format of `packed_latents`. Training reads them one after another into one tensor,
so that every batch can have any rows, whatever the files.
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import torch
from pydantic import Field, ValidationError

from riffusion.checkpoint.autoencoders import Autoencoder
from riffusion.datasets.config import Count, DataConfig, Section
from riffusion.datasets.folder import (
    LATENTS_INDEX_NAME,
    LATENTS_NAME,
    DatasetFolder,
    Split,
    holds_latents,
)
from riffusion.datasets.packed_latents import (
    ROWS_PER_STREAM,
    PackedHeader,
    Stream,
    damaged,
    encoder_fingerprint,
    header_of,
    packed_streams,
    read_latents,
    write_streams,
)
from riffusion.errors import InputError
from riffusion.io.files import write_file

MAX_FILE_BYTES = 10_000_000
"""Machines that are lent for minutes often take some ten megabytes at once."""

_FORMAT = 1
_HEADER_BYTES = 4096
"""More than a file's header and the names of its streams."""
_NAME = "latents-{:05}.safetensors"
_NAME_PATTERN = r"^latents-\d{5}\.safetensors$"
_MOST_NAMES = 3


class LatentFile(Section):
    """One of several files.

    Args:
        file: name of the file.
        rows: number of rows.
        bytes: size of the file.
        sha256: hash of the file, in hexadecimal.
    """

    file: Annotated[str, Field(pattern=_NAME_PATTERN)]
    rows: Count
    bytes: Count
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class LatentIndex(Section):
    """The files of a split.

    Args:
        format: version of the index.
        files: the files, in the order of their rows.
    """

    format: int = _FORMAT
    files: Annotated[tuple[LatentFile, ...], Field(min_length=1)]


def has_latents(folder: DatasetFolder) -> bool:
    """Whether a data set holds latents instead of images."""
    return holds_latents(folder.directory / "train")


def write_latent_files(
    directory: Path,
    latents: torch.Tensor,
    levels: int,
    image: tuple[int, int],
    encoder: str,
    max_bytes: int = MAX_FILE_BYTES,
) -> float:
    """Pack the latents of a split; `read_latent_files` is the inverse, except for rounding.

    Args:
        directory: folder of the split.
        latents, levels, image, encoder: see `write_latents`.
        max_bytes: largest size of a file. A row that needs more has a file of its own.

    Returns:
        The share of the values that were clipped.

    Raises:
        InputError: a file can't be written.
    """
    header = header_of(latents, levels, image, encoder)
    row_bytes = latents[0].numel()
    # Packing never needs more than a hundredth more.
    rows_that_fit = max(1, int((max_bytes - _HEADER_BYTES) / 1.01) // row_bytes)
    rows_per_stream = min(ROWS_PER_STREAM, rows_that_fit)
    files: list[LatentFile] = []
    pending: list[Stream] = []
    num_cut = 0
    for stream in packed_streams(latents, levels, rows_per_stream):
        size = sum(len(each.data) for each in (*pending, stream))
        is_full = rows_per_stream < ROWS_PER_STREAM or size > max_bytes - _HEADER_BYTES
        if pending and is_full:
            files.append(_write_numbered(directory, len(files) + 1, pending, header))
            pending = []
        pending.append(stream)
        num_cut += stream.num_cut
    index = directory / LATENTS_INDEX_NAME
    if files:
        files.append(_write_numbered(directory, len(files) + 1, pending, header))
        write_file(
            (LatentIndex(files=tuple(files)).model_dump_json(indent=2) + "\n").encode(), index
        )
    else:
        write_streams(directory / LATENTS_NAME, pending, header)
        index.unlink(missing_ok=True)
    # Left by an earlier version, or by a run that was killed.
    written = {file.file for file in files} or {LATENTS_NAME}
    for path in (directory / LATENTS_NAME, *directory.glob(_NAME.replace("{:05}", "?" * 5))):
        if path.name not in written:
            path.unlink(missing_ok=True)
    return num_cut / latents.numel()


def read_latent_files(directory: Path) -> tuple[PackedHeader, torch.Tensor]:
    """Unpack the latents of a split.

    Args:
        directory: folder of the split.

    Returns:
        The header, with the number of all rows, and the latents (rows, channels, height, width),
        float16.

    Raises:
        InputError: a file is missing, truncated, damaged or of another data set.
    """
    index_path = directory / LATENTS_INDEX_NAME
    if not index_path.is_file():
        return read_latents(directory / LATENTS_NAME)
    index = _read_index(index_path)
    _check_sizes(directory, index.files)
    num_rows = sum(file.rows for file in index.files)
    first: PackedHeader | None = None
    latents = torch.empty(0)
    filled = 0
    for file in index.files:
        path = directory / file.file
        with path.open("rb") as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
        if found != file.sha256:
            raise damaged(path, f"its SHA-256 {found[:12]}… is not that of {LATENTS_INDEX_NAME}")
        header, part = read_latents(path)
        if first is None:
            first = header.model_copy(update={"rows": num_rows})
            latents = torch.empty(num_rows, *header.shape, dtype=part.dtype)
        if header.model_copy(update={"rows": num_rows}) != first or header.rows != file.rows:
            raise damaged(path, f"it does not fit the files before it in {LATENTS_INDEX_NAME}")
        latents[filled : filled + len(part)] = part
        filled += len(part)
    assert first is not None  # an index has at least one file
    return first, latents


def load_latents(
    folder: DatasetFolder, split: Split, vae: Autoencoder, config: DataConfig
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
    directory = folder.directory / split
    header, latents = read_latent_files(directory)
    check_latents(header, f"data.dataset={folder.address!r}", vae, config)
    if header.rows != (num_rows := len(folder.rows(split))):
        path = directory / (
            LATENTS_INDEX_NAME if (directory / LATENTS_INDEX_NAME).is_file() else LATENTS_NAME
        )
        raise damaged(path, f"it has {header.rows} rows, the metadata has {num_rows}")
    return latents


def check_latents(header: PackedHeader, where: str, vae: Autoencoder, config: DataConfig) -> None:
    """Check that latents fit the VAE and the configuration.

    Args:
        header: the header of the latents.
        where: the data set, for messages.
        vae: must have the encoder that the latents were made with.
        config: the training's `data` section.

    Raises:
        InputError: the latents are from another encoder, or have another image size.
    """
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


def _write_numbered(
    directory: Path, number: int, streams: Sequence[Stream], header: PackedHeader
) -> LatentFile:
    path = directory / _NAME.format(number)
    write_streams(path, streams, header)
    data = path.read_bytes()
    return LatentFile(
        file=path.name,
        rows=sum(stream.rows for stream in streams),
        bytes=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
    )


def _read_index(path: Path) -> LatentIndex:
    try:
        index = LatentIndex.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except ValidationError as error:
        raise damaged(path, "it is not an index of latents") from error
    except (OSError, ValueError) as error:
        raise damaged(path, " ".join(str(error).split())[:200]) from error
    if index.format != _FORMAT:
        raise damaged(path, f"format {index.format} is not supported")
    return index


def _check_sizes(directory: Path, files: Sequence[LatentFile]) -> None:
    """Check that all files are there and complete, before the first one is read.

    Raises:
        InputError: some are missing, or one has another size.
    """
    missing = [file.file for file in files if not (directory / file.file).is_file()]
    if missing:
        names = ", ".join(missing[:_MOST_NAMES]) + ", …" * (len(missing) > _MOST_NAMES)
        raise damaged(directory, f"{len(missing)} of {len(files)} files are missing: {names}")
    for file in files:
        size = (directory / file.file).stat().st_size
        if size != file.bytes:
            raise damaged(directory / file.file, f"it has {size} bytes instead of {file.bytes}")
