"""Reading a diffusers folder, as today's diffusers writes it or as diffusers 0.9 did."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from riffusion.checkpoint.files import (
    INDEX_NAME,
    SCHEDULER_NAME,
    WEIGHT_STEMS,
    abridged,
    is_weights,
    needed_files,
    read_json,
    read_weights,
)
from riffusion.checkpoint.source import SINGLE_FILE_SUFFIXES
from riffusion.errors import CheckpointError

logger = logging.getLogger(__name__)

CLASS_NAMES = {
    "vae": ("AutoencoderKL",),
    "unet": ("UNet2DConditionModel",),
    "text_encoder": ("CLIPTextModel",),
    "tokenizer": ("CLIPTokenizer", "CLIPTokenizerFast"),
}
"""What a Stable Diffusion 1.x checkpoint is made of, beside its scheduler."""
UNUSED_PARTS = {"safety_checker", "feature_extractor", "image_encoder"}
"""Left out when present: the safety checker was made for photographs and blanks spectrograms, and
the other two only serve it."""


@dataclass
class RawCheckpoint:
    """A checkpoint as it was read, in diffusers' layout, before any network is built.

    Args:
        configs: by part: `vae`, `unet`, `text_encoder` and `scheduler`.
        weights: tensors by name, by part.
        tokenizer: folder of the tokenizer's files.
        directory: folder of all files.
        paths: what to name in messages about a part.
    """

    configs: dict[str, dict[str, Any]]
    weights: dict[str, dict[str, torch.Tensor]]
    tokenizer: Path
    directory: Path
    paths: dict[str, Path]
    weights_format: str


def read_folder(folder: Path, *, prefer_half: bool = False) -> RawCheckpoint:
    """Read a diffusers folder, as today's diffusers writes it or as diffusers 0.9 did.

    Args:
        folder: the one with `model_index.json`.
        prefer_half: take weights published in half precision over the full ones.

    Raises:
        CheckpointError: files are missing, broken, or belong to another kind of model.
    """
    if not folder.is_dir():
        raise CheckpointError(f"{folder} is not a folder; name one that holds {INDEX_NAME}")
    if not (folder / INDEX_NAME).is_file():
        raise _not_a_checkpoint(folder)
    _check_index(read_json(folder / INDEX_NAME), folder / INDEX_NAME)
    names = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    needed = needed_files(names, prefer_half=prefer_half, where=str(folder))
    files = {
        part: [folder / name for name in needed if is_weights(name, part)] for part in WEIGHT_STEMS
    }
    suffixes = {path.suffix for paths in files.values() for path in paths}
    return RawCheckpoint(
        configs={part: read_json(folder / part / "config.json") for part in WEIGHT_STEMS}
        | {"scheduler": read_json(folder / SCHEDULER_NAME)},
        weights={part: read_weights(paths) for part, paths in files.items()},
        tokenizer=folder / "tokenizer",
        directory=folder,
        paths={part: folder / part for part in WEIGHT_STEMS}
        | {"scheduler": folder / SCHEDULER_NAME},
        weights_format="SafeTensors" if suffixes == {".safetensors"} else "pickle",
    )


def _check_index(index: dict[str, Any], path: Path) -> None:
    """Refuse the index of another kind of model.

    Raises:
        CheckpointError: a part is missing, of another class, or one too many.
    """
    parts = {
        name: str(entry[1])
        for name, entry in index.items()
        if isinstance(entry, list) and len(entry) == 2 and entry[1] is not None
    }
    known = {*CLASS_NAMES, "scheduler"}
    foreign = [
        f"{name}={class_name}"
        for name, class_name in parts.items()
        if name not in known | UNUSED_PARTS
        or class_name not in CLASS_NAMES.get(name, (class_name,))
    ]
    absent = sorted(known - parts.keys())
    if foreign or absent:
        what = f"has {abridged(foreign)}" if foreign else f"lacks {abridged(absent)}"
        raise CheckpointError(
            f"{path} ({index.get('_class_name')}) {what}; only Stable Diffusion 1.x checkpoints "
            "(AutoencoderKL, UNet2DConditionModel, CLIPTextModel) can be loaded"
        )
    if "safety_checker" in parts:
        logger.info("safety_checker is left out: made for photographs, it blanks spectrograms")


def _not_a_checkpoint(folder: Path) -> CheckpointError:
    """What a folder without an index seems to be, and the remedy."""
    names = sorted(path.name for path in folder.iterdir())
    if not names:
        return CheckpointError(f"{folder} is empty; name a folder that holds {INDEX_NAME}")
    if any("lora" in name.lower() or name.startswith("adapter_") for name in names):
        return CheckpointError(
            f"{folder} holds LoRA weights, which only change a checkpoint; merge them into one "
            "and name that"
        )
    files = [name for name in names if name.endswith(SINGLE_FILE_SUFFIXES)]
    if files and "config.json" not in names:
        return CheckpointError(
            f"{folder} has no {INDEX_NAME}; to load a single file name it: {abridged(files)}"
        )
    return CheckpointError(
        f"{folder} has no {INDEX_NAME}, it holds {abridged(names)}; name the folder of a Stable "
        "Diffusion 1.x checkpoint in diffusers' layout"
    )
