"""Loading a checkpoint: the networks, tokenizer and scheduler of a Stable Diffusion 1.x model.

source ─▶ find_checkpoint                 from the argument, environment, Truss mount or bundle
       ─▶ fetch                           downloads a hub id to a folder in the local cache
       ─▶ read_folder, read_single_file   read configurations and tensors; build nothing yet
       ─▶ build_network, …                check that every weight is used and that the parts fit
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from riffusion.checkpoint.distillation import Distillation, read_distillation
from riffusion.checkpoint.folder import read_folder
from riffusion.checkpoint.hub import fetch
from riffusion.checkpoint.networks import (
    build_network,
    build_scheduler,
    check_agreement,
    load_tokenizer,
)
from riffusion.checkpoint.single_file import read_single_file
from riffusion.checkpoint.source import (
    DEFAULT_HUB_ID,
    CheckpointSource,
    find_checkpoint,
)
from riffusion.errors import CheckpointError, InputError, SpectrogramParamsError
from riffusion.runtime.devices import select_device
from riffusion.spectrogram.params import SpectrogramParams

__all__ = [
    "DEFAULT_HUB_ID",
    "CheckpointSource",
    "Components",
    "choose_dtype",
    "find_checkpoint",
    "load_components",
]

logger = logging.getLogger(__name__)

DTYPES = (torch.float32, torch.float16, torch.bfloat16)


@dataclass
class Components:
    """The parts of a pipeline: loaded, checked against each other, and on the device.

    Args:
        source: where they come from; for a hub id, `revision` is the commit that was loaded.
        directory: the local folder with the files, or with the single file.
        weights_format: `SafeTensors` or `pickle`.
        distillation: what a distilled checkpoint can do; None for others.
    """

    vae: Any
    text_encoder: Any
    tokenizer: Any
    unet: Any
    scheduler: Any
    spectrogram_params: SpectrogramParams
    source: CheckpointSource
    dtype: torch.dtype
    device: torch.device
    directory: Path
    weights_format: str
    distillation: Distillation | None = None

    @property
    def description(self) -> str:
        """One line: checkpoint, origin, device, precision, size and format."""
        name = self.source.location
        if self.source.kind != "hub":
            name = Path(name).resolve().name
        if self.source.revision:
            name += f"@{self.source.revision}"
        parameters = sum(weight.numel() for weight in self.unet.parameters()) / 1e6
        precision = str(self.dtype).removeprefix("torch.")
        distilled = ""
        if self.distillation is not None:
            low, high = self.distillation.guidance
            distilled = (
                f", distilled for up to {self.distillation.max_steps} steps and guidance "
                f"{low:g} to {high:g}"
            )
        return (
            f"{name} ({self.source.origin}) on {self.device} in {precision}, "
            f"UNet {parameters:.1f} M parameters, {self.weights_format}{distilled}"
        )


def load_components(
    source: CheckpointSource | str | os.PathLike[str] | None = None,
    *,
    device: str | torch.device | None = None,
    dtype: torch.dtype | None = None,
    revision: str | None = None,
    local_files_only: bool = False,
) -> Components:
    """Load a checkpoint from a folder, a single file or the hub, and log one line about it.

    Args:
        source: where from; anything but a `CheckpointSource` is resolved by `find_checkpoint`.
        device: see `riffusion.runtime.devices.select_device`.
        dtype: see `choose_dtype`.
        revision: commit, tag or branch on the hub, in place of the one in `source`.
        local_files_only: look for hub checkpoints in the local cache only.

    Raises:
        CheckpointError: the checkpoint is missing, truncated, foreign, or can't be reached.
        InputError: the device or precision is unknown.
    """
    if not isinstance(source, CheckpointSource):
        source = find_checkpoint(source)
    chosen_device = select_device(device)
    chosen_dtype = choose_dtype(chosen_device, dtype)
    prefer_half = chosen_dtype == torch.float16
    if source.kind == "file":
        raw = read_single_file(Path(source.location), local_files_only=local_files_only)
    else:
        folder = Path(source.location)
        if source.kind == "hub":
            folder, source = fetch(
                source,
                revision=revision,
                prefer_half=prefer_half,
                local_files_only=local_files_only,
            )
        raw = read_folder(folder, prefer_half=prefer_half)
    networks = {
        part: build_network(
            part, raw.configs[part], raw.weights.pop(part), chosen_dtype, raw.paths[part]
        )
        for part in ("vae", "text_encoder", "unet")
    }
    networks = {part: network.to(chosen_device) for part, network in networks.items()}
    if chosen_device.type == "cuda":  # where convolutions are fastest so; on CPUs they are slower
        for part in ("vae", "unet"):
            networks[part].to(memory_format=torch.channels_last)
    tokenizer = load_tokenizer(raw.tokenizer)
    check_agreement(networks, tokenizer, raw.directory)
    components = Components(
        **networks,
        tokenizer=tokenizer,
        scheduler=build_scheduler(raw.configs["scheduler"], raw.paths["scheduler"]),
        spectrogram_params=_spectrogram_params(raw.directory),
        source=source,
        dtype=chosen_dtype,
        device=chosen_device,
        directory=raw.directory,
        weights_format=raw.weights_format,
        distillation=read_distillation(raw.directory, networks["unet"].config),
    )
    logger.info("loaded checkpoint %s from %s", components.description, raw.directory)
    return components


def choose_dtype(device: torch.device, requested: torch.dtype | None = None) -> torch.dtype:
    """The precision to compute in; by default half on CUDA and single elsewhere.

    On the CPU half precision is slower than single and some operations are missing, so a request
    for it gives single precision and a warning.

    Raises:
        InputError: the requested type isn't float32, float16 or bfloat16.
    """
    if requested is None:
        return torch.float16 if device.type == "cuda" else torch.float32
    if requested not in DTYPES:
        raise InputError(f"{requested} must be float32, float16 or bfloat16", field="dtype")
    if requested == torch.float16 and device.type == "cpu":
        logger.warning("dtype=float16 is not supported on the CPU; computing in float32 instead")
        return torch.float32
    return requested


def _spectrogram_params(directory: Path) -> SpectrogramParams:
    try:
        return SpectrogramParams.load(directory)
    except SpectrogramParamsError as error:
        raise CheckpointError(f"{error}; fix the file, or remove it to use the defaults") from error
