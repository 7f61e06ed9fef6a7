"""Sharded data sets: tar files of a few megabytes, as WebDataset has them, for reading in order.

    DIR/shards.json              the splits' tar files with rows, sizes and SHA-256 hashes
    DIR/spectrogram_params.json  as in a data-set folder
    DIR/train/metadata.jsonl     the rows, in the order in which they are in the tar files
    DIR/train-00000.tar          00000000.png and 00000000.json, 00000001.png, …
    DIR/validation-00000.tar     …

A row is its image as it was (`.png`, `.jpg`, `.webp`), or its latents (`.npy`, int8), and its line
of the metadata (`.json`). The `webdataset` package and `datasets.load_dataset("webdataset")` read
the tar files. `shard_writer` writes them, `shard_folder` reads them.
"""

import hashlib
import io
import json
import tarfile
from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import Annotated, Literal

from pydantic import Field, ValidationError

from riffusion.datasets.config import Count, Section
from riffusion.datasets.folder import SHARDS_NAME, DatasetRow, Split
from riffusion.datasets.packed_latents import PackedHeader
from riffusion.errors import InputError, MediaError

MAX_INDEX_BYTES = 64 * 2**20
MAX_PARAMS_BYTES = 64 * 2**10
MAX_FILE_BYTES = 2 * 2**30
"""Largest tar file, and largest metadata of a split. A reader never takes more from a server."""
MAX_SHARDS = 100_000
"""Per split: their names have five digits."""
LATENTS_SUFFIX = ".npy"
_ROW_SUFFIX = ".json"
_Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
_FileBytes = Annotated[int, Field(ge=1, le=MAX_FILE_BYTES)]


class Shard(Section):
    """One tar file.

    Args:
        file: its name.
        rows: number of rows.
        bytes: size of the file.
        sha256: hash of the file, in hexadecimal.
    """

    file: Annotated[str, Field(pattern=r"^(train|validation)-\d{5}\.tar$")]
    rows: Count
    bytes: _FileBytes
    sha256: _Hash


class SplitShards(Section):
    """The files of a split.

    Args:
        shards: the tar files, in the order of their rows.
        metadata_bytes, metadata_sha256: size and hash of `metadata.jsonl`.
        image: (height, width) of the first image, or of the image of the first latents, in pixels.
        latents: header of the latents; None for images.
    """

    shards: Annotated[tuple[Shard, ...], Field(min_length=1)]
    metadata_bytes: _FileBytes
    metadata_sha256: _Hash
    image: tuple[Count, Count]
    latents: PackedHeader | None = None


class ShardIndex(Section):
    """The content of `shards.json`.

    Args:
        format: version of the format.
        params_sha256: hash of `spectrogram_params.json`.
        splits: the splits; that for validation may be missing.
    """

    format: Literal[1] = 1
    params_sha256: _Hash
    splits: dict[Split, SplitShards]


def read_index(data: bytes, where: str) -> ShardIndex:
    """Read `shards.json`.

    Raises:
        InputError: it is malformed, or has another format.
    """
    try:
        index = ShardIndex.model_validate(json.loads(data))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise damaged(where, f"{place}: {first['msg']}") from error
    except ValueError as error:
        raise damaged(where, f"it is not JSON: {error}") from error
    if "train" not in index.splits:
        raise damaged(where, "it has no split train")
    return index


def tar_of(rows: Iterable[tuple[int, str, bytes, DatasetRow]]) -> bytes:
    """A tar file of rows; the same rows give the same bytes.

    Args:
        rows: number, suffix of the file, its content, and the metadata of each row.
    """
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for number, suffix, content, row in rows:
            for name, data in ((suffix, content), (_ROW_SUFFIX, row.to_json().encode())):
                member = tarfile.TarInfo(f"{number:08}{name}")  # no time, no owner
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def contents_of(data: bytes, shard: Shard, first: int, where: str) -> list[bytes]:
    """The content of each row of a tar file.

    Args:
        data: the file.
        shard: what it should be.
        first: number of its first row.
        where: the file's address, for messages.

    Raises:
        InputError: size or hash differ, or the file has other rows.
    """
    if len(data) != shard.bytes:
        raise damaged(where, f"it has {len(data)} bytes instead of {shard.bytes}")
    if hashlib.sha256(data).hexdigest() != shard.sha256:
        raise damaged(where, f"its SHA-256 is not that of {SHARDS_NAME}")
    found: dict[int, bytes] = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as tar:
            for member in tar:
                name = PurePosixPath(member.name)
                # No links and no sparse files, which may be larger than the tar file itself.
                if not member.isreg() or member.issparse() or name.suffix == _ROW_SUFFIX:
                    continue
                file = tar.extractfile(member)
                assert file is not None
                found[int(name.stem)] = file.read()
    except (tarfile.TarError, ValueError) as error:
        raise damaged(where, str(error)) from error
    numbers = range(first, first + shard.rows)
    if sorted(found) != list(numbers):
        raise damaged(where, f"it does not hold the rows {first} to {numbers[-1]}")
    return [found[number] for number in numbers]


def damaged(where: str, reason: str) -> InputError:
    """The error for a file of a sharded data set that isn't what it should be."""
    return MediaError(
        f"shard={where!r} cannot be read ({reason}); copy it again, or write the shards again with "
        "`riffusion dataset shard`"
    )
