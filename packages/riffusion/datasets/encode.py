"""A data set of images as one of latents, small enough to bring along to another machine.

What a folder of latents holds:

    README.md, dataset.json, spectrogram_params.json    as every data set
    SPLIT/metadata.jsonl                                the rows that were kept, as they were
    SPLIT/latents.safetensors                           see `packed_latents`
    train/….png                                         the first image, which says their size
    vae/                                                the VAE, in half precision
"""

import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from diffusers import AutoencoderKL

from riffusion.checkpoint.files import MAX_SHARD_SIZE
from riffusion.checkpoint.networks import half_copy
from riffusion.datasets.config import DataConfig
from riffusion.datasets.folder import (
    INFO_NAME,
    LATENTS_NAME,
    METADATA_NAME,
    SPLITS,
    DatasetFolder,
    DatasetRow,
    Split,
    claim_directory,
    write_metadata,
)
from riffusion.datasets.image_size import check_multiple, image_size
from riffusion.datasets.latents import LatentExamples, Progress
from riffusion.datasets.packed_latents import (
    encoder_fingerprint,
    has_latents,
    write_latents,
)
from riffusion.errors import InputError
from riffusion.io.files import write_file

COMMAND = "dataset encode"


@dataclass(frozen=True)
class EncodeReport:
    """What became of a data set.

    Args:
        num_rows: kept, by split.
        num_bytes: of the folder.
        cut_share: of the latents, too far out for their byte.
    """

    num_rows: dict[Split, int]
    num_bytes: int
    cut_share: float


def encode_dataset(
    source: DatasetFolder,
    vae: AutoencoderKL,
    directory: Path,
    *,
    clips_per_label: int | None = None,
    levels: int = 8,
    cache: Path | None = None,
    progress: Progress = lambda done, total: None,
) -> EncodeReport:
    """Make a data-set folder of latents.

    Args:
        source: the data set of images.
        vae: the encoder, on the device where it shall work.
        directory: made if it isn't there.
        clips_per_label: at most so many of each label in each split, see `thinned`.
        levels: a unit of the latents. 8 err by a deviation of 0.036, 4 by 0.072.
        cache: folder of latents that a training encoded, or that one can go on with; None deletes
            them at the end.
        progress: called while images are encoded.

    Raises:
        InputError: the data set holds latents already, the VAE can't take its images, the folder
            was made with other options, or something can't be written.
        MediaError: an image is missing or damaged.
    """
    where = f"dataset={str(source.directory)!r}"
    if has_latents(source):
        raise InputError(f"{where} holds latents already; name the data set of images")
    config = DataConfig(dataset=source.directory)
    size = image_size(source, config)
    factor = 2 ** (len(vae.config.block_out_channels) - 1)
    check_multiple(size, factor, config, "the VAE")
    encoder = encoder_fingerprint(vae)
    options = {
        "clips_per_label": clips_per_label,
        "levels_per_unit": levels,
        "encoder": encoder,
        "rows": _rows_fingerprint(source),
        "made_from": _info(source),
    }
    claim_directory(directory, COMMAND, options, source.params)
    half_copy(vae).save_pretrained(directory / "vae", max_shard_size=MAX_SHARD_SIZE)
    own_cache = directory.with_name(f".{directory.name}.cache")
    all_rows = {split: source.rows(split) for split in SPLITS}
    num_rows: dict[Split, int] = {}
    num_cut = 0.0
    for split in reversed(SPLITS):  # `train` last: its metadata make the folder a data set
        rows = all_rows[split]
        if not rows:
            continue
        kept = thinned(rows, clips_per_label)
        behind = len(all_rows["validation"]) if split == "train" else 0
        tell = partial(_tell, progress, behind, sum(map(len, all_rows.values())))
        examples = LatentExamples(source, split, vae, config, cache or own_cache, tell)
        (directory / split).mkdir(exist_ok=True)
        share = write_latents(
            directory / split / LATENTS_NAME, examples.latents[kept], levels, size, encoder
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


def _tell(progress: Progress, behind: int, total: int, done: int, _: int) -> None:
    """Of all splits, what LatentExamples tells of one."""
    progress(behind + done, total)


def thinned(rows: Sequence[DatasetRow], per_label: int | None) -> list[int]:
    """Which rows are kept, in their order: of each label, those with the lowest hashes.

    Hashes of file names rather than every n-th row: styles and tempos take turns in a data set, and
    such a step could pass over one of them. Fewer rows are always some of more.

    Args:
        rows: of a split.
        per_label: at most so many of each; None keeps all.
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
    """What the images' own `dataset.json` says; None if there is none."""
    path = source.directory / INFO_NAME
    if not path.is_file():
        return None
    try:
        info: object = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path} is not JSON ({error}); copy the data set again") from error
    return info


def _copy_image(source: DatasetFolder, row: DatasetRow, directory: Path) -> None:
    target = directory / "train" / row.file_name
    target.parent.mkdir(parents=True, exist_ok=True)
    write_file(source.image_path("train", row).read_bytes(), target)


def _card(source: DatasetFolder, levels: int, num_rows: dict[Split, int]) -> str:
    """The images' card, with what became of them."""
    path = source.directory / "README.md"
    text = path.read_text(encoding="utf-8").rstrip() if path.is_file() else "# Latents"
    counts = ", ".join(f"{num_rows[split]} of {split}" for split in SPLITS if split in num_rows)
    return f"""{text}

## As latents
`riffusion dataset encode` put latents of the VAE in `vae/` in the images' place ({counts}):
round({levels} · z) in `latents.safetensors` of each split, which errs by a deviation of
{1 / (levels * 12**0.5):.3f} against about 1. One image is left, which says their size. The
licences above hold for them too.
"""
