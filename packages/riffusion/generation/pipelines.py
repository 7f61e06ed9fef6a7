"""Loads a checkpoint for one of the two engines: PyTorch, or onnxruntime without PyTorch."""

from __future__ import annotations

import importlib.util
import os
from typing import Literal, get_args

from riffusion.diffusion.stages import PipelineStages
from riffusion.errors import InputError
from riffusion.io.bundle import how_to_add, how_to_use_torch

EngineName = Literal["torch", "light"]
"""`torch` has every checkpoint, device, scheduler and LoRA; `light` starts sooner, and runs
exported checkpoints on the CPU."""

_PACKAGES: dict[EngineName, str] = {"torch": "torch", "light": "onnxruntime"}
_CPU_NAMES = (None, "auto", "cpu")


def load_pipeline(
    checkpoint: str | None = None, device: str | None = None, engine: EngineName | None = None
) -> PipelineStages:
    """Load a checkpoint.

    Args:
        checkpoint: folder, file or hub id; None for the default checkpoint.
        device: None for the fastest device available.
        engine: what runs the networks; None for the environment variable RIFFUSION_ENGINE, else
            PyTorch if it is installed, else onnxruntime.

    Raises:
        CheckpointError: the checkpoint is missing, truncated or foreign, or not exported.
        InputError: the engine is unknown or not installed, or can't use the device.
    """
    if choose_engine(engine) == "torch":
        from riffusion.diffusion import RiffusionPipeline

        return RiffusionPipeline.from_pretrained(checkpoint, device=device)
    if device not in _CPU_NAMES:
        raise InputError(
            f"{device!r} needs PyTorch; {how_to_use_torch()}; or device=cpu with engine=light",
            "device",
        )
    from riffusion.light.pipeline import LightPipeline

    return LightPipeline.from_pretrained(checkpoint)


def choose_engine(engine: EngineName | None = None) -> EngineName:
    """The engine to use; the argument and the errors are those of `load_pipeline`."""
    chosen = engine or _engine_from_environment()
    if chosen not in get_args(EngineName):
        raise InputError(f"{chosen!r} must be one of {', '.join(get_args(EngineName))}", "engine")
    if not _is_installed(_PACKAGES[chosen]):
        remedy = how_to_add("torch") if chosen == "torch" else "pip install onnxruntime"
        raise InputError(f"{chosen!r} is not installed; {remedy}", "engine")
    return chosen


def check_weights_can_change(engine: EngineName | None, field: str) -> None:
    """Check that the engine can add LoRAs and new words to a checkpoint.

    Args:
        engine: the one that is asked for, if any.
        field: what is to be added.

    Raises:
        InputError: it can't, or it is unknown or not installed.
    """
    if choose_engine(engine) != "torch":
        raise InputError(f"needs PyTorch, which changes weights; {how_to_use_torch()}", field)


def _engine_from_environment() -> EngineName:
    named = os.environ.get("RIFFUSION_ENGINE")
    if not named:
        return "torch" if _is_installed("torch") else "light"
    for engine in get_args(EngineName):
        if named == engine:
            known: EngineName = engine
            return known
    raise InputError(
        f"RIFFUSION_ENGINE={named} must be one of {', '.join(get_args(EngineName))}, or unset"
    )


def _is_installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None
