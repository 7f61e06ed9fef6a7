"""Data-set folder → tar files of images or latents. The same folder gives the same bytes."""

import hashlib
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from riffusion.datasets.folder import (
    METADATA_NAME,
    SHARDS_NAME,
    SPLITS,
    DatasetFolder,
    DatasetRow,
    Split,
    claim_directory,
    sole_writer,
    write_metadata,
)
from riffusion.datasets.latent_files import has_latents, read_latent_files
from riffusion.datasets.packed_latents import PackedHeader
from riffusion.datasets.shards import (
    LATENTS_SUFFIX,
    MAX_FILE_BYTES,
    MAX_SHARDS,
    Shard,
    ShardIndex,
    SplitShards,
    tar_of,
)
from riffusion.errors import InputError, MediaError
from riffusion.io.files import write_file
from riffusion.spectrogram.params import FILE_NAME

COMMAND = "dataset shard"
LANES = 8
"""The number of a split's shards is a multiple of this, so that 2, 4 or 8 processes have equal
shares."""
_NPY_HEADER_BYTES = 128

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class ShardReport:
    """What was written.

    Args:
        num_rows: rows per split.
        num_shards: tar files per split.
        num_bytes: size of all tar files.
    """

    num_rows: dict[Split, int]
    num_shards: dict[Split, int]
    num_bytes: int


class _Contents:
    """Suffix, size and content of each row's file."""

    def __init__(self, folder: DatasetFolder, split: Split, rows: Sequence[DatasetRow]) -> None:
        self.header: PackedHeader | None = None
        if has_latents(folder):
            self.header, latents = read_latent_files(folder.directory / split)
            if self.header.rows != len(rows):
                raise MediaError(
                    f"dataset={str(folder.directory)!r} has {self.header.rows} latents for "
                    f"{len(rows)} rows of {split}/{METADATA_NAME}; encode it again"
                )
            self.image = self.header.image
            self.latents = (latents.float() * self.header.levels).round().to(torch.int8).numpy()
        else:
            width, height = folder.read_image(split, rows[0]).size
            self.image = (height, width)
            self.paths = [folder.image_path(split, row) for row in rows]

    def size(self, row: int) -> int:
        if self.header is not None:
            return int(self.latents[row].nbytes) + _NPY_HEADER_BYTES
        try:
            return self.paths[row].stat().st_size
        except OSError as error:
            raise _unreadable(self.paths[row], error) from error

    def read(self, row: int) -> tuple[str, bytes]:
        if self.header is not None:
            return LATENTS_SUFFIX, npy_bytes(self.latents[row])
        try:
            return self.paths[row].suffix.lower(), self.paths[row].read_bytes()
        except OSError as error:
            raise _unreadable(self.paths[row], error) from error


def npy_bytes(array: np.ndarray) -> bytes:
    """An array in NumPy's file format."""
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def write_shards(
    folder: DatasetFolder,
    directory: Path,
    shard_bytes: int,
    seed: int = 0,
    progress: Progress = lambda done, total: None,
) -> ShardReport:
    """Write a data set as tar files. A run that was stopped writes them again.

    Args:
        folder: the data set, of images or of packed latents.
        directory: folder of the sharded data set; created if it doesn't exist.
        shard_bytes: about the size of a tar file, at least 1.
        seed: determines the order of the rows, which is random, so that each tar file is a sample
            of the whole split.
        progress: called with (rows done, rows in all).

    Raises:
        InputError: the folder holds something else, a file can't be written, or there would be too
            many tar files, or too large ones.
        MediaError: an image or latents can't be read.
    """
    rows = {split: folder.rows(split) for split in SPLITS}
    if not rows["train"]:
        raise InputError(f"dataset={str(folder.directory)!r} has no train images")
    options = {
        "dataset": _digest(folder, rows),
        "shard_bytes": shard_bytes,
        "seed": seed,
    }
    claim_directory(directory, COMMAND, options, folder.params)
    with sole_writer(directory):
        total = sum(map(len, rows.values()))
        writer = _Writer(directory, shard_bytes, seed, lambda done: progress(done, total))
        splits = {
            split: writer.split(split, _Contents(folder, split, rows[split]), rows[split])
            for split in SPLITS
            if rows[split]
        }
        card = folder.directory / "README.md"
        if card.is_file():
            write_file(card.read_bytes(), directory / card.name)
        params = hashlib.sha256((directory / FILE_NAME).read_bytes()).hexdigest()
        index = ShardIndex(params_sha256=params, splits=splits)
        # Last, so that a folder with an index is complete.
        write_file((index.model_dump_json(indent=1) + "\n").encode(), directory / SHARDS_NAME)
    return ShardReport(
        {split: len(rows[split]) for split in splits},
        {split: len(found.shards) for split, found in splits.items()},
        sum(shard.bytes for found in splits.values() for shard in found.shards),
    )


class _Writer:
    def __init__(
        self, directory: Path, shard_bytes: int, seed: int, progress: Callable[[int], None]
    ) -> None:
        self.directory, self.shard_bytes, self.seed = directory, shard_bytes, seed
        self.progress, self.done = progress, 0

    def split(self, split: Split, contents: _Contents, rows: Sequence[DatasetRow]) -> SplitShards:
        """Write a split's tar files and metadata."""
        rng = np.random.default_rng((self.seed, SPLITS.index(split)))
        order = rng.permutation(len(rows)).tolist()
        total = sum(map(contents.size, order))
        parts = _parts(len(rows), total, self.shard_bytes)
        if len(parts) > MAX_SHARDS:
            raise InputError(
                f"{self.shard_bytes / 1e6:g} gives {len(parts)} tar files, more than {MAX_SHARDS}; "
                "use a larger size",
                field="shard_mb",
            )
        shards = []
        for number, (first, end) in enumerate(parts):
            data = tar_of(
                (place, *contents.read(order[place]), rows[order[place]])
                for place in range(first, end)
            )
            if len(data) > MAX_FILE_BYTES:
                raise InputError(
                    f"{self.shard_bytes / 1e6:g} gives a tar file of {len(data)} bytes, more than "
                    f"{MAX_FILE_BYTES}; use a smaller size",
                    field="shard_mb",
                )
            name = f"{split}-{number:05}.tar"
            write_file(data, self.directory / name)
            digest = hashlib.sha256(data).hexdigest()
            shards.append(Shard(file=name, rows=end - first, bytes=len(data), sha256=digest))
            self.done += end - first
            self.progress(self.done)
        write_metadata(self.directory, split, [rows[number] for number in order])
        metadata = (self.directory / split / METADATA_NAME).read_bytes()
        return SplitShards(
            shards=tuple(shards),
            metadata_bytes=len(metadata),
            metadata_sha256=hashlib.sha256(metadata).hexdigest(),
            image=contents.image,
            latents=contents.header,
        )


def _parts(num_rows: int, num_bytes: int, part_bytes: int) -> list[tuple[int, int]]:
    """(first, end) of the rows of each tar file; the numbers of rows differ by at most one."""
    count = -(-num_bytes // part_bytes)
    count = min(num_rows, -(-count // LANES) * LANES)
    return [
        (number * num_rows // count, (number + 1) * num_rows // count) for number in range(count)
    ]


def _digest(folder: DatasetFolder, rows: dict[Split, list[DatasetRow]]) -> str:
    """Hash of the metadata, by which a folder is known again."""
    digest = hashlib.sha256()
    for split in SPLITS:
        for row in rows[split]:
            digest.update(f"{split} {row.to_json()}\n".encode())
    return digest.hexdigest()[:16]


def _unreadable(path: Path, error: OSError) -> MediaError:
    return MediaError(f"image={str(path)!r} cannot be read: {error.strerror}")
