"""The weights and other files of an exported checkpoint: copied, or written in another precision.

An exported folder is a checkpoint in diffusers' layout, too: its graphs refer to the weights that
torch loads.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from safetensors.torch import save_file

from riffusion.checkpoint.files import (
    DISTILLATION_NAME,
    INDEX_NAME,
    INTEGERS_SUFFIX,
    SCHEDULER_NAME,
    SEED_IMAGE_FOLDER,
    TOKENIZER_NAMES,
    WEIGHT_STEMS,
    needed_files,
    weight_files,
)
from riffusion.checkpoint.loader import Components
from riffusion.diffusion import RiffusionPipeline
from riffusion.errors import CheckpointError
from riffusion.exporting.rounding import INTEGERS, is_rounded, rounded
from riffusion.exporting.weights import StoredWeight, stored_weights
from riffusion.spectrogram import params as spectrogram_params

_STORED_TYPES = {"F32": "fp32", "F16": "fp16"}
_TOKENIZER = "tokenizer/tokenizer.json"


@dataclass(frozen=True)
class Weights:
    """Where a checkpoint's weights are.

    Args:
        precision: their type, one of `PRECISIONS`.
        stored: by folder of the checkpoint and name.
    """

    precision: str
    stored: dict[str, dict[str, StoredWeight]]


def stored_in(components: Components) -> Weights | None:
    """Where a loaded checkpoint's weights are, if graphs can refer to them.

    None if they aren't safetensors of one type that graphs can hold, are a single file in the
    original layout, or lack a `tokenizer.json`, which programs without transformers need. Only
    parameters count: older files also hold constants, such as the numbers of positions.
    """
    folder = components.directory
    if components.source.kind == "file" or not (folder / _TOKENIZER).is_file():
        return None
    names = _names(folder)
    files = {part: weight_files(names, part, where=str(folder)) for part in WEIGHT_STEMS}
    if not all(name.endswith(".safetensors") for several in files.values() for name in several):
        return None
    stored = {part: stored_weights(folder, several, part) for part, several in files.items()}
    types = {
        stored[part][name].dtype
        for part in WEIGHT_STEMS
        for name, _ in getattr(components, part).named_parameters()
    }
    precision = _STORED_TYPES.get(types.pop()) if len(types) == 1 else None
    return Weights(precision, stored) if precision else None


def copy(components: Components, folder: Path) -> None:
    """Copy a checkpoint's files, all that loading it reads.

    Args:
        components: the loaded checkpoint.
        folder: an empty folder.
    """
    origin = components.directory
    names = _names(origin)
    needed = set(needed_files(names, prefer_half=False, where=str(origin)))
    # Which shard has which weight; not read here, but by other programs.
    needed |= {f"{part}/{stem}.safetensors.index.json" for part, (stem, _) in WEIGHT_STEMS.items()}
    for name in sorted(needed & set(names)):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(origin / name, folder / name)
    if not (folder / spectrogram_params.FILE_NAME).exists():
        components.spectrogram_params.save(folder)


def is_rounded_in(components: Components, precision: str) -> bool:
    """Whether a precision changes weights of the loaded checkpoint."""
    return any(is_rounded(getattr(components, part), precision) for part in WEIGHT_STEMS)


def write(components: Components, folder: Path, precision: str) -> Weights:
    """Write a checkpoint in a precision, and round its loaded networks to what was written.

    Args:
        components: in single precision.
        folder: an empty folder.
        precision: type of the written weights. `w8` is for graphs only: torch finds no weights.

    Raises:
        CheckpointError: a weight is too large for it.
    """
    _write_configurations(components, folder)
    stored = {}
    for part, (stem, _) in WEIGHT_STEMS.items():
        tensors = rounded(getattr(components, part), precision)
        if not all(bool(tensor.isfinite().all()) for tensor in tensors.values()):
            raise CheckpointError(
                f"{part} has weights that are too large for {precision}; use --precision fp32"
            )
        ending = INTEGERS_SUFFIX if precision in INTEGERS else ".safetensors"
        name = f"{part}/{stem}{ending}"
        save_file(tensors, folder / name, metadata={"format": "pt"})
        stored[part] = stored_weights(folder, [name], part)
    return Weights(precision, stored)


def _write_configurations(components: Components, folder: Path) -> None:
    """Write everything but weights."""
    pipeline = RiffusionPipeline(
        **{part: getattr(components, part) for part in WEIGHT_STEMS},
        tokenizer=components.tokenizer,
        scheduler=components.scheduler,
    )
    pipeline.save_config(folder)
    components.unet.save_config(folder / "unet")
    components.vae.save_config(folder / "vae")
    components.text_encoder.config.save_pretrained(folder / "text_encoder")
    components.tokenizer.save_pretrained(folder / "tokenizer")
    components.scheduler.save_pretrained(folder / "scheduler")
    components.spectrogram_params.save(folder)
    if components.distillation is not None:
        components.distillation.save(folder)
    seed_images = components.directory / SEED_IMAGE_FOLDER
    if seed_images.is_dir():
        shutil.copytree(seed_images, folder / SEED_IMAGE_FOLDER)


def others_in(folder: Path) -> tuple[str, ...]:
    """The files that runtimes read beside graphs and weights, as far as a folder has them."""
    tokenizer = (f"tokenizer/{name}" for name in TOKENIZER_NAMES)
    wanted = {
        *(INDEX_NAME, SCHEDULER_NAME, DISTILLATION_NAME, spectrogram_params.FILE_NAME),
        *tokenizer,
    }
    images = {
        name
        for name in _names(folder)
        if name.startswith(SEED_IMAGE_FOLDER) and "/." not in name  # notes of file managers
    }
    return tuple(sorted(images | {name for name in wanted if (folder / name).is_file()}))


def _names(folder: Path) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
