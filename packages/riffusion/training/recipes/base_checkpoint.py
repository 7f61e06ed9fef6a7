"""The checkpoint that a run starts from: loading it, and what is checked for every such recipe."""

from pathlib import Path
from typing import Literal

import torch

from riffusion.checkpoint.loader import Components, load_components
from riffusion.datasets.config import DataConfig
from riffusion.datasets.folder import DatasetFolder
from riffusion.datasets.image_size import resized_params
from riffusion.errors import InputError
from riffusion.spectrogram.compatibility import check_compatible_params
from riffusion.spectrogram.params import FILE_NAME as PARAMS_NAME

HALF = {"no": None, "bf16": torch.bfloat16, "fp16": torch.float16}
"""Precision of frozen weights by `run.mixed_precision`; None is single precision."""


def load_base(checkpoint: str) -> Components:
    """A checkpoint as it was published, on the CPU in single precision.

    Raises:
        CheckpointError: it is missing or damaged.
    """
    return load_components(checkpoint, device="cpu", dtype=torch.float32)


def check_params(base: Components, folder: DatasetFolder, data: DataConfig, name: str) -> None:
    """Check that a data set has the checkpoint's spectrogram parameters, if it has any.

    Args:
        base: the checkpoint.
        folder: the data set.
        data: the configuration of the images' size.
        name: the key that names the data set, for the message.

    Raises:
        InputError: a parameter differs.
    """
    if (base.directory / PARAMS_NAME).is_file():
        where = f"{name}={str(folder.directory)!r}"
        check_compatible_params(base.spectrogram_params, resized_params(folder, data), where=where)


def prediction_of(base: Components, checkpoint: str) -> Literal["epsilon", "v_prediction"]:
    """What a checkpoint's UNet predicts.

    Raises:
        InputError: neither epsilon nor v.
    """
    prediction = base.scheduler.config.get("prediction_type", "epsilon")
    if prediction == "epsilon":
        return "epsilon"
    if prediction == "v_prediction":
        return "v_prediction"
    raise InputError(
        f"checkpoint={checkpoint!r} predicts {prediction!r}; only epsilon and v_prediction can be "
        "trained"
    )


def name_of(base: Components) -> str:
    """Name of a checkpoint for model cards: its folder's name, or hub id and commit."""
    source = base.source
    if source.kind != "hub":
        return Path(source.location).resolve().name
    return f"{source.location}@{source.revision}" if source.revision else source.location
