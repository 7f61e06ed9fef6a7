"""Data set of images → data set of packed latents, small enough to copy to another machine.

Contents of a folder of latents:

    README.md, dataset.json, spectrogram_params.json    as in every data set
    SPLIT/metadata.jsonl                                the selected rows, unchanged
    SPLIT/latents.safetensors, or several files         see `latent_files`
    train/….png                                         the first image, which tells the size
    vae/                                                the VAE, in half precision
"""

import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from riffusion.checkpoint.autoencoders import Autoencoder
from riffusion.checkpoint.files import MAX_SHARD_SIZE
from riffusion.checkpoint.networks import half_copy
from riffusion.datasets.config import DataConfig
from riffusion.datasets.folder import (
    INFO_NAME,
    METADATA_NAME,
    SPLITS,
    DatasetFolder,
    DatasetRow,
    Split,
    claim_directory,
    sole_writer,
    write_metadata,
)
from riffusion.datasets.image_size import check_fits_vae
from riffusion.datasets.latent_files import has_latents, write_latent_files
from riffusion.datasets.latents import LatentExamples, Progress
from riffusion.datasets.packed_latents import encoder_fingerprint
from riffusion.errors import InputError
from riffusion.io.files import short_name, write_file

COMMAND = "dataset encode"


@dataclass(frozen=True)
class EncodeReport:
    """Size and loss of an encoded data set.

    Args:
        num_rows: number of rows, by split.
        num_bytes: size of the folder.
        cut_share: share of the latent values that were clipped to the range of a byte.
    """

    num_rows: dict[Split, int]
    num_bytes: int
    cut_share: float


def encode_dataset(
    source: DatasetFolder,
    vae: Autoencoder,
    directory: Path,
    *,
    clips_per_label: int | None = None,
    levels: int = 8,
    cache: Path | None = None,
    progress: Progress = lambda done, total: None,
) -> EncodeReport:
    """Build a data-set folder of packed latents.

    Args:
        source: the data set of images.
        vae: the encoder, on the device that it should run on.
        directory: the new data set; created if it doesn't exist.
        clips_per_label: maximum number of rows per label and split, see `thinned`.
        levels: quantisation levels per unit of the latents. The standard deviation of the error is
            0.036 at 8 levels and 0.072 at 4.
        cache: folder for the latents before packing, shared with training runs; None uses a
            temporary folder.
        progress: called while images are encoded.

    Raises:
        InputError: the data set already holds latents, its image size doesn't fit the VAE, the
            folder was made with other options or is in use by another run, or something can't be
            written.
        MediaError: an image is missing or damaged.
    """
    where = f"dataset={str(source.directory)!r}"
    if has_latents(source):
        raise InputError(f"{where} already holds latents; name the data set of images")
    config = DataConfig(dataset=str(source.directory))
    size = check_fits_vae(source, config, vae)
    encoder = encoder_fingerprint(vae)
    options = {
        "clips_per_label": clips_per_label,
        "levels_per_unit": levels,
        "encoder": encoder,
        "rows": _rows_fingerprint(source),
        "made_from": _info(source),
    }
    claim_directory(directory, COMMAND, options, source.params)
    with sole_writer(directory):
        half_copy(vae).save_pretrained(directory / "vae", max_shard_size=MAX_SHARD_SIZE)
        own_cache = directory.with_name(short_name(f".{directory.name}", ".cache"))
        all_rows = {split: source.rows(split) for split in SPLITS}
        num_rows: dict[Split, int] = {}
        num_cut = 0.0
        for split in reversed(
            SPLITS
        ):  # `train` last: its metadata file makes the folder a data set
            rows = all_rows[split]
            if not rows:
                continue
            kept = thinned(rows, clips_per_label)
            done_before = len(all_rows["validation"]) if split == "train" else 0
            num_images = sum(map(len, all_rows.values()))
            split_progress = partial(_overall_progress, progress, done_before, num_images)
            examples = LatentExamples(
                source, split, vae, config, cache or own_cache, split_progress
            )
            assert examples.latents is not None  # only those of shards are streamed
            (directory / split).mkdir(exist_ok=True)
            share = write_latent_files(
                directory / split, examples.latents[kept], levels, size, encoder
            )
            num_rows[split] = len(kept)
            num_cut += share * len(kept)
            if split == "train":
                _copy_image(source, rows[kept[0]], directory)
                write_file(_card(source, levels, num_rows).encode(), directory / "README.md")
            write_metadata(directory, split, [rows[number] for number in kept])
        shutil.rmtree(own_cache, ignore_errors=True)
    num_bytes = sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())
    return EncodeReport(num_rows, num_bytes, num_cut / sum(num_rows.values()))


def _overall_progress(
    progress: Progress, done_before: int, total: int, done: int, split_total: int
) -> None:
    """Turn the progress of one split into the progress of all splits."""
    del split_total
    progress(done_before + done, total)


def thinned(rows: Sequence[DatasetRow], per_label: int | None) -> list[int]:
    """Indices of the rows to keep, ascending: for each label, those with the lowest hashes.

    Rows are chosen by hashes of their file names rather than every n-th, since styles and tempos
    alternate in a data set and a fixed step could skip one of them. A smaller selection is always
    a subset of a larger one.

    Args:
        rows: all rows of a split.
        per_label: maximum number of rows per label; None keeps all.
    """
    if per_label is None:
        return list(range(len(rows)))
    by_label: dict[str, list[int]] = {}
    for number, row in enumerate(rows):
        by_label.setdefault(row.label, []).append(number)
    kept = []
    for numbers in by_label.values():
        numbers.sort(key=lambda number: hashlib.sha256(rows[number].file_name.encode()).digest())
        kept += numbers[:per_label]
    return sorted(kept)


def _rows_fingerprint(source: DatasetFolder) -> str:
    digest = hashlib.sha256()
    for split in SPLITS:
        path = source.directory / split / METADATA_NAME
        if path.is_file():
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _info(source: DatasetFolder) -> object:
    """Content of the source's `dataset.json`; None if there is none."""
    path = source.directory / INFO_NAME
    if not path.is_file():
        return None
    try:
        info: object = json.loads(path.read_text(encoding="utf-8-sig"))
    except ValueError as error:
        raise InputError(f"{path} is not JSON ({error}); copy the data set again") from error
    return info


def _copy_image(source: DatasetFolder, row: DatasetRow, directory: Path) -> None:
    target = directory / "train" / row.file_name
    target.parent.mkdir(parents=True, exist_ok=True)
    write_file(source.image_path("train", row).read_bytes(), target)


def _card(source: DatasetFolder, levels: int, num_rows: dict[Split, int]) -> str:
    """The source's card, with a section about the latents."""
    path = source.directory / "README.md"
    text = path.read_text(encoding="utf-8").rstrip() if path.is_file() else "# Latents"
    counts = ", ".join(f"{num_rows[split]} of {split}" for split in SPLITS if split in num_rows)
    return f"""{text}

## As latents
`riffusion dataset encode` replaced the images by latents of the VAE in `vae/` ({counts}):
round({levels} · z) in the `latents` files of each split. The rounding error has a standard
deviation of {1 / (levels * 12**0.5):.3f}, that of the latents is about 1. One image is kept, which
tells the image size. The licences above apply to the latents, too.
"""
