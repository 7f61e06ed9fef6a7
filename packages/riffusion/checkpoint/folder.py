"""Reading a diffusers folder, in today's format or that of diffusers 0.9."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from riffusion.checkpoint import autoencoders
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
from riffusion.checkpoint.kinds import adapter_in_folder
from riffusion.checkpoint.source import SINGLE_FILE_SUFFIXES
from riffusion.errors import CheckpointError

logger = logging.getLogger(__name__)

CLASS_NAMES = {
    "vae": tuple(autoencoders.CLASSES),
    "unet": ("UNet2DConditionModel",),
    "text_encoder": ("CLIPTextModel",),
    "tokenizer": ("CLIPTokenizer", "CLIPTokenizerFast"),
}
"""Classes of the parts of a Stable Diffusion 1.x checkpoint, apart from its scheduler. Published
ones have an AutoencoderKL."""
UNUSED_PARTS = {"safety_checker", "feature_extractor", "image_encoder"}
"""Parts that are not loaded: the safety checker was trained on photographs and blanks spectrograms,
and only it needs the other two."""


@dataclass
class RawCheckpoint:
    """Configurations and weights of a checkpoint, in diffusers' layout; no network is built yet.

    Args:
        configs: by part: `vae`, `unet`, `text_encoder` and `scheduler`.
        weights: by part, tensors by name.
        tokenizer: folder with the tokenizer's files.
        directory: folder with all files.
        paths: by part, the path to name in error messages.
        weights_format: `SafeTensors` or `pickle`.
    """

    configs: dict[str, dict[str, Any]]
    weights: dict[str, dict[str, torch.Tensor]]
    tokenizer: Path
    directory: Path
    paths: dict[str, Path]
    weights_format: str


def read_folder(folder: Path, *, prefer_half: bool = False) -> RawCheckpoint:
    """Read a diffusers folder, in today's format or that of diffusers 0.9.

    Args:
        folder: the folder with `model_index.json`.
        prefer_half: take weights published in half precision over the full ones.

    Raises:
        CheckpointError: files are missing, broken, or belong to another kind of model.
    """
    if not folder.is_dir():
        raise CheckpointError(f"{folder} is not a folder; name one that holds {INDEX_NAME}")
    if not (folder / INDEX_NAME).is_file():
        raise _not_a_checkpoint(folder)
    index = read_json(folder / INDEX_NAME)
    _check_index(index, folder / INDEX_NAME)
    names = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    needed = needed_files(names, prefer_half=prefer_half, where=str(folder))
    files = {
        part: [folder / name for name in needed if is_weights(name, part)] for part in WEIGHT_STEMS
    }
    suffixes = {path.suffix for paths in files.values() for path in paths}
    configs = {part: read_json(folder / part / "config.json") for part in WEIGHT_STEMS}
    _check_class(index, configs["vae"], folder)
    return RawCheckpoint(
        configs=configs | {"scheduler": read_json(folder / SCHEDULER_NAME)},
        weights={part: read_weights(paths) for part, paths in files.items()},
        tokenizer=folder / "tokenizer",
        directory=folder,
        paths={part: folder / part for part in WEIGHT_STEMS}
        | {"scheduler": folder / SCHEDULER_NAME},
        weights_format="SafeTensors" if suffixes == {".safetensors"} else "pickle",
    )


def _check_index(index: dict[str, Any], path: Path) -> None:
    """Check that `model_index.json` describes a Stable Diffusion 1.x model.

    Raises:
        CheckpointError: a part is missing, has another class, or doesn't belong to such a model.
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
            f"({', '.join(autoencoders.CLASSES)}; UNet2DConditionModel; CLIPTextModel) can be "
            "loaded"
        )
    if "safety_checker" in parts:
        logger.info("safety_checker is not loaded: trained on photographs, it blanks spectrograms")


def _check_class(index: dict[str, Any], config: dict[str, Any], folder: Path) -> None:
    """Check that `model_index.json` and the autoencoder's own configuration name the same class.

    Raises:
        CheckpointError: they name different ones.
    """
    name = index["vae"][1]
    if (own := config.setdefault("_class_name", name)) != name:
        raise CheckpointError(
            f"{folder / 'vae' / 'config.json'}: _class_name={own!r} must be {name!r}, as "
            f"{INDEX_NAME} says; one of them is of another model, download both again"
        )


def _not_a_checkpoint(folder: Path) -> CheckpointError:
    """The error for a folder without `model_index.json`: what it seems to hold, and the remedy."""
    names = sorted(path.name for path in folder.iterdir())
    if not names:
        return CheckpointError(f"{folder} is empty; name a folder that holds {INDEX_NAME}")
    if adapter := adapter_in_folder(names):
        return CheckpointError(f"{folder} {adapter}")
    files = [name for name in names if name.endswith(SINGLE_FILE_SUFFIXES)]
    if files and "config.json" not in names:
        return CheckpointError(
            f"{folder} has no {INDEX_NAME}; to load a single file name it: {abridged(files)}"
        )
    return CheckpointError(
        f"{folder} has no {INDEX_NAME}, it holds {abridged(names)}; name the folder of a Stable "
        "Diffusion 1.x checkpoint in diffusers' layout"
    )
