"""A sharded data set as a `DatasetFolder`: on disk, behind http(s), or any address of fsspec.

Only the index and the metadata are read at the start. A tar file is read as a whole when one of its
rows is wanted, checked, and kept in memory until others take its place; nothing is written to disk.
"""

import fnmatch
import hashlib
import io
import threading
from collections import OrderedDict
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from riffusion.datasets.folder import (
    METADATA_NAME,
    SHARDS_NAME,
    SPLITS,
    DatasetFolder,
    DatasetRow,
    Split,
    parsed_rows,
)
from riffusion.datasets.packed_latents import PackedHeader
from riffusion.datasets.shard_storage import ShardStorage
from riffusion.datasets.shards import (
    MAX_INDEX_BYTES,
    MAX_PARAMS_BYTES,
    Shard,
    contents_of,
    damaged,
    read_index,
)
from riffusion.errors import InputError, MediaError
from riffusion.io.images import decode_image
from riffusion.spectrogram.params import FILE_NAME, SpectrogramParams

_DEFAULT_KEPT = 2


class ShardedFolder(DatasetFolder):
    """A sharded data set, for reading.

    Args:
        address: a folder or URL that has `shards.json`; or a pattern such as `…/train-0000*.tar`
            for some of its tar files for training.

    Attributes:
        num_kept: number of tar files of each split that are kept in memory.

    Raises:
        InputError: there is no sharded data set, it is damaged, or nothing matches the pattern.
    """

    def __init__(self, address: str) -> None:
        base, pattern = split_pattern(address)
        self.address = address
        self.directory = Path(address)  # for messages, and for folders on disk
        self.storage = ShardStorage(base)
        data = self.storage.read(SHARDS_NAME, MAX_INDEX_BYTES)
        self.index = read_index(data, self.storage.where(SHARDS_NAME))
        data = self._checked(FILE_NAME, MAX_PARAMS_BYTES, self.index.params_sha256)
        self.params = SpectrogramParams.from_json(data, self.storage.where(FILE_NAME))
        self.num_kept: dict[Split, int] = dict.fromkeys(SPLITS, _DEFAULT_KEPT)
        self._kept: dict[Split, OrderedDict[str, list[bytes]]]
        self._kept = {split: OrderedDict() for split in SPLITS}
        self._locks: dict[str, threading.Lock] = {}
        self._lock = threading.Lock()
        self._splits: dict[Split, _SplitRows] = {}
        for split in self.index.splits:
            self._splits[split] = self._read_split(split, pattern if split == "train" else None)

    def _read_split(self, split: Split, pattern: str | None) -> "_SplitRows":
        found = self.index.splits[split]
        name = f"{split}/{METADATA_NAME}"
        data = self._checked(name, found.metadata_bytes, found.metadata_sha256)
        try:
            text = data.decode()
        except UnicodeDecodeError as error:
            raise damaged(self.storage.where(name), str(error)) from error
        rows = parsed_rows(text, self.storage.where(name))
        chosen, first = [], 0
        for shard in found.shards:
            if pattern is None or fnmatch.fnmatchcase(shard.file, pattern):
                chosen.append((shard, first))
            first += shard.rows
        if first != len(rows):
            raise damaged(self.storage.where(name), f"{len(rows)} rows instead of {first}")
        if not chosen:
            raise InputError(
                f"data.dataset={self.address!r} matches none of the {len(found.shards)} tar files "
                f"for training; the first is {found.shards[0].file}"
            )
        return _SplitRows(chosen, rows)

    def _checked(self, name: str, max_bytes: int, sha256: str) -> bytes:
        data = self.storage.read(name, max_bytes)
        if hashlib.sha256(data).hexdigest() != sha256:
            raise damaged(self.storage.where(name), f"its SHA-256 is not that of {SHARDS_NAME}")
        return data

    def rows(self, split: Split) -> list[DatasetRow]:
        """Rows of a split's tar files, in order; empty if the split doesn't exist."""
        return self._splits[split].rows if split in self._splits else []

    def shard_rows(self, split: Split) -> tuple[int, ...]:
        """Number of rows of each tar file of a split."""
        return tuple(shard.rows for shard, _ in self._splits[split].shards)

    def latents_header(self, split: Split) -> PackedHeader | None:
        """Header of the latents of a split; None for images."""
        return self.index.splits[split].latents if split in self.index.splits else None

    def latents(self, split: Split, number: int) -> torch.Tensor:
        """The latents of row `number`, (channels, height, width), float32.

        Raises:
            InputError: its tar file can't be read, or is damaged.
        """
        header = self.latents_header(split)
        assert header is not None
        content, where = self._content(split, number)
        try:
            values = np.load(io.BytesIO(content), allow_pickle=False)
        except (ValueError, OSError, EOFError, MemoryError) as error:
            raise damaged(where, f"row {number}: {error}") from error
        if not isinstance(values, np.ndarray):  # `np.load` reads archives of arrays, too
            raise damaged(where, f"row {number} is no array")
        if values.dtype != np.int8 or values.shape != header.shape:
            raise damaged(where, f"row {number} is {values.dtype} {values.shape}")
        # As read from a folder: rounded to half precision once.
        return (torch.from_numpy(values).half() / header.levels).float()

    def read_image(self, split: Split, row: DatasetRow) -> Image.Image:
        if self.latents_header(split) is not None:
            raise InputError(
                f"dataset={self.address!r} holds latents instead of image {row.file_name!r}; name "
                "the shards of the data set that `riffusion dataset encode` was given"
            )
        content, where = self._content(split, self._splits[split].numbers[row.file_name])
        try:
            return decode_image(content)
        except InputError as error:
            raise MediaError(f"image={row.file_name!r} of {where!r}: {error}") from error

    def image_path(self, split: Split, row: DatasetRow) -> Path:
        """Raises InputError: images in tar files have no path."""
        raise InputError(
            f"dataset={self.address!r} has its images in tar files, which this does not read; name "
            "a data-set folder"
        )

    def image_size(self) -> tuple[int, int]:
        return self.index.splits["train"].image

    def digests(self, split: Split) -> list[bytes]:
        return [bytes.fromhex(shard.sha256) for shard, _ in self._splits[split].shards]

    def fingerprint(self) -> dict[str, str]:
        """`data_sha256`: SHA-256 of the hashes of the tar files for training, and of their rows."""
        found = hashlib.sha256(self.index.splits["train"].metadata_sha256.encode())
        for digest in self.digests("train"):
            found.update(digest)
        return {"data_sha256": found.hexdigest()}

    def _content(self, split: Split, number: int) -> tuple[bytes, str]:
        """The content of a row, and the address of its tar file."""
        place, row = self._splits[split].place(number)
        shard, first = self._splits[split].shards[place]
        return self._shard(split, shard, first)[row], self.storage.where(shard.file)

    def _shard(self, split: Split, shard: Shard, first: int) -> list[bytes]:
        """The rows of a tar file; threads that want the same one wait for one read of it."""
        kept = self._kept[split]
        with self._lock:
            lock = self._locks.setdefault(shard.file, threading.Lock())
        with lock:
            with self._lock:
                if shard.file in kept:
                    kept.move_to_end(shard.file)
                    return kept[shard.file]
            data = self.storage.read(shard.file, shard.bytes)
            contents = contents_of(data, shard, first, self.storage.where(shard.file))
            with self._lock:
                kept[shard.file] = contents
                while len(kept) > self.num_kept[split]:
                    kept.popitem(last=False)
            return contents


class _SplitRows:
    """The chosen tar files of a split, each with the number of its first row, and their rows."""

    def __init__(self, shards: list[tuple[Shard, int]], rows: list[DatasetRow]) -> None:
        self.shards = shards
        self.rows = [row for shard, first in shards for row in rows[first : first + shard.rows]]
        self.numbers = {row.file_name: number for number, row in enumerate(self.rows)}
        self._ends = np.cumsum([shard.rows for shard, _ in shards])

    def place(self, number: int) -> tuple[int, int]:
        """(index of the tar file, row in it) of a row."""
        index = int(np.searchsorted(self._ends, number, side="right"))
        return index, number - (int(self._ends[index - 1]) if index else 0)


def split_pattern(address: str) -> tuple[str, str | None]:
    """(folder or URL, pattern of tar files or None) of an address."""
    base, slash, last = address.rpartition("/")
    if any(character in last for character in "*?[") and not Path(address).is_dir():
        return (base if slash else "."), last
    return address, None


def is_sharded(address: str) -> bool:
    """Whether an address is one of a sharded data set: a URL, a pattern, or a folder of shards."""
    base, pattern = split_pattern(address)
    return "://" in address or pattern is not None or (Path(base) / SHARDS_NAME).is_file()


def open_dataset(address: str | Path) -> DatasetFolder:
    """A data-set folder or a sharded data set, for reading.

    Raises:
        InputError: there is none.
    """
    if is_sharded(str(address)):
        return ShardedFolder(str(address))
    return DatasetFolder(address)
