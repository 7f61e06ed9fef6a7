"""Reading unconditional checkpoints: audio-diffusion's folders, and those that `train` writes.

    model_index.json                 names the parts and their classes
    unet/                            UNet2DModel, or UNet2DConditionModel for encodings
    scheduler/                       DDPMScheduler or DDIMScheduler
    vqvae/ (or vae/)                 optional: the UNet then generates its latents
    mel/mel_config.json              audio-diffusion: images in decibels
    spectrogram_params.json          Riffusion: images of amplitudes

Everything but the weights is read and checked first, so that a request can be checked before they
are loaded.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers
import torch

from riffusion.checkpoint import autoencoders
from riffusion.checkpoint.files import (
    INDEX_NAME,
    SCHEDULER_NAME,
    read_json,
    read_weights,
    weight_files,
)
from riffusion.checkpoint.hub import fetch
from riffusion.checkpoint.index import parts_of_index
from riffusion.checkpoint.loader import choose_dtype
from riffusion.checkpoint.networks import build_network, build_scheduler
from riffusion.checkpoint.source import CheckpointSource
from riffusion.errors import CheckpointError, RecordedParamsError
from riffusion.spectrogram.decibel_mel import DecibelMel
from riffusion.spectrogram.params import FILE_NAME as PARAMS_NAME
from riffusion.spectrogram.params import SpectrogramParams

MEL_NAME = "mel/mel_config.json"
VAE_FOLDERS = ("vqvae", "vae")
SCHEDULERS = {"DDPMScheduler": "ddpm", "DDIMScheduler": "ddim"}
_UNETS = {"UNet2DModel": "unconditional_unet", "UNet2DConditionModel": "unet"}
"""What `build_network` calls them."""


@dataclass
class UnconditionalNetworks:
    """Networks on their device, for inference.

    Args:
        unet: generates pixels, or latents of `vae`.
        vae: None for a UNet that generates pixels.
        scheduler: of the class and with the noise schedule that the checkpoint names.
    """

    unet: Any
    vae: Any | None
    scheduler: Any


@dataclass(frozen=True)
class UnconditionalCheckpoint:
    """An unconditional checkpoint without its weights.

    Args:
        folder: the folder with its files.
        unet_config, vae_config: configurations of the networks; None without a VAE.
        vae_folder: `vqvae` or `vae`.
        scheduler: see `UnconditionalNetworks`.
        spectrogram: how its images and audio belong together.
        size: (height, width) of its images in pixels.
    """

    folder: Path
    unet_config: dict[str, Any]
    vae_config: dict[str, Any] | None
    vae_folder: str
    scheduler: Any
    spectrogram: DecibelMel | SpectrogramParams
    size: tuple[int, int]

    @classmethod
    def read(
        cls, name: str | CheckpointSource, *, local_files_only: bool = False
    ) -> UnconditionalCheckpoint:
        """Read a folder, or a repository on the Hugging Face hub, which is downloaded.

        Args:
            name: path of a folder, `owner/name` or `owner/name@revision` on the hub, or either one
                parsed.
            local_files_only: look for hub checkpoints in the local cache only.

        Raises:
            CheckpointError: it doesn't exist, is damaged, or is another kind of model.
        """
        source = CheckpointSource.parse(name) if isinstance(name, str) else name
        folder = Path(source.location)
        if source.kind == "hub":
            folder, _ = fetch(
                source, local_files_only=local_files_only, choice=_needed_unconditional_files
            )
        if not (folder / INDEX_NAME).is_file():
            raise CheckpointError(
                f"{folder} has no {INDEX_NAME}; name the folder of an unconditional checkpoint in "
                "diffusers' layout, such as audio-diffusion's"
            )
        parts = _parts(folder)
        vae_folder = next((part for part in VAE_FOLDERS if part in parts), "")
        vae_config = read_json(folder / vae_folder / "config.json") if vae_folder else None
        unet_config = read_json(folder / "unet" / "config.json")
        unet_config.setdefault("_class_name", parts["unet"])
        config = read_json(folder / SCHEDULER_NAME) | {"_class_name": parts["scheduler"]}
        scheduler = build_scheduler(_known(config), folder / SCHEDULER_NAME)
        spectrogram = _spectrogram(folder, has_mel="mel" in parts)
        checkpoint = cls(
            folder,
            unet_config,
            vae_config,
            vae_folder,
            scheduler,
            spectrogram,
            _checked_size(folder, unet_config, vae_config, spectrogram),
        )
        _check_channels(checkpoint)
        return checkpoint

    @property
    def is_conditional(self) -> bool:
        """Whether its UNet needs an encoding for each clip."""
        return bool(self.unet_config["_class_name"] == "UNet2DConditionModel")

    @property
    def scheduler_name(self) -> str:
        """`ddpm` or `ddim`."""
        return SCHEDULERS[type(self.scheduler).__name__]

    @property
    def num_train_timesteps(self) -> int:
        """Steps of the noise schedule, the maximum for sampling."""
        return int(self.scheduler.config.num_train_timesteps)

    def load(self, device: torch.device, dtype: torch.dtype | None = None) -> UnconditionalNetworks:
        """Load the networks; every weight must be present and used.

        Raises:
            CheckpointError: weights are missing, damaged or don't fit their configuration.
        """
        chosen = choose_dtype(device, dtype)
        kind = _UNETS[self.unet_config["_class_name"]]
        unet = self._network(kind, "unet", self.unet_config, chosen, device)
        vae = None
        if self.vae_config is not None:
            vae = self._network("vae", self.vae_folder, self.vae_config, chosen, device)
        return UnconditionalNetworks(unet, vae, self.scheduler)

    def _network(
        self,
        kind: str,
        part: str,
        config: dict[str, Any],
        dtype: torch.dtype,
        device: torch.device,
    ) -> Any:
        names = [f"{part}/{path.name}" for path in (self.folder / part).iterdir()]
        files = weight_files(names, part, where=str(self.folder))
        weights = read_weights([self.folder / name for name in files])
        return build_network(kind, config, weights, dtype, self.folder / part).to(device)


def _parts(folder: Path) -> dict[str, str]:
    """Class names by part, from `model_index.json`.

    Raises:
        CheckpointError: it isn't an unconditional model, or a class isn't supported.
    """
    path = folder / INDEX_NAME
    index = read_json(path)
    parts = parts_of_index(index)
    if "text_encoder" in parts:
        raise CheckpointError(
            f"{path} ({index.get('_class_name')}) has a text encoder; use `riffusion generate` "
            "for checkpoints that take a prompt"
        )
    allowed: list[tuple[str, Iterable[str]]] = [("unet", _UNETS), ("scheduler", SCHEDULERS)]
    allowed += [(name, autoencoders.CLASSES) for name in VAE_FOLDERS if name in parts]
    for name, classes in allowed:
        if parts.get(name, "") not in classes:
            raise CheckpointError(
                f"{path} ({index.get('_class_name')}): {name}={parts.get(name)} must be "
                f"{' or '.join(classes)}; use an unconditional checkpoint, such as "
                "audio-diffusion's"
            )
    return parts


def _known(config: dict[str, Any]) -> dict[str, Any]:
    """A scheduler's configuration without keys of early releases, which today's classes ignore."""
    parameters = inspect.signature(getattr(diffusers, config["_class_name"])).parameters
    return {name: value for name, value in config.items() if name in {"_class_name", *parameters}}


def _spectrogram(folder: Path, has_mel: bool) -> DecibelMel | SpectrogramParams:
    """How images and audio belong together.

    Raises:
        CheckpointError: no file says it, or the file is damaged.
    """
    remedy = "fix the file, or download it again"
    try:
        if has_mel or (folder / MEL_NAME).is_file():
            return DecibelMel.load(folder / MEL_NAME)
        if (folder / PARAMS_NAME).is_file():
            return SpectrogramParams.load(folder)
    except RecordedParamsError as error:
        raise CheckpointError(f"{error}; {remedy}") from error
    raise CheckpointError(
        f"{folder} has neither {MEL_NAME} nor {PARAMS_NAME}, so its images can't become audio; add "
        'the one it was trained with, such as {"x_res": 256, "y_res": 256} in '
        f"{MEL_NAME}"
    )


def _checked_size(
    folder: Path,
    unet_config: dict[str, Any],
    vae_config: dict[str, Any] | None,
    spectrogram: DecibelMel | SpectrogramParams,
) -> tuple[int, int]:
    """(height, width) of the images, from the UNet's `sample_size`.

    Raises:
        CheckpointError: it isn't given, or contradicts the spectrogram.
    """
    size = unet_config.get("sample_size")
    sides = [size, size] if isinstance(size, int) else size
    if not isinstance(sides, list) or len(sides) != 2 or not all(type(n) is int for n in sides):
        raise CheckpointError(
            f"{folder / 'unet' / 'config.json'}: sample_size={size!r} must be a number or "
            "[height, width]; set it to the size that the UNet was trained with"
        )
    widths = (vae_config or {}).get("block_out_channels") or (vae_config or {}).get(
        "encoder_block_out_channels", [0]
    )
    factor = 2 ** (len(widths) - 1)
    height, width = (side * factor for side in sides)
    if isinstance(spectrogram, DecibelMel):
        expected, what = (spectrogram.y_res, spectrogram.x_res), f"{MEL_NAME} (y_res × x_res)"
    else:
        expected, what = (spectrogram.num_frequencies, width), f"{PARAMS_NAME} (num_frequencies)"
    if (height, width) != expected:
        raise CheckpointError(
            f"{folder}: the networks' images of {height} × {width} must be {expected[0]} × "
            f"{expected[1]} as in {what}; use the files that belong together"
        )
    return height, width


def _check_channels(checkpoint: UnconditionalCheckpoint) -> None:
    """Check that UNet and VAE fit each other.

    Raises:
        CheckpointError: they have other numbers of channels than their images or latents.
    """
    unet, vae = checkpoint.unet_config, checkpoint.vae_config
    given = unet.get("in_channels", 3), unet.get("out_channels", 3)
    if vae is None:
        allowed = [(1, 1), (3, 3)]
        colours = allowed
    else:
        latent = vae.get("latent_channels", 4)
        allowed = [(latent, latent)]
        colours = [(vae.get("in_channels", 3), vae.get("out_channels", 3))]
    if given not in allowed or any(pair not in [(1, 1), (3, 3)] for pair in colours):
        raise CheckpointError(
            f"{checkpoint.folder}: a UNet of {given[0]} channels in and {given[1]} out can't "
            f"generate {'pixels of 1 or 3 colours' if vae is None else 'the latents of its VAE'}; "
            "use the files that belong together"
        )


def _needed_unconditional_files(
    names: Iterable[str], *, prefer_half: bool, where: str
) -> list[str]:
    """The files of a hub repository that loading reads; see `needed_files`."""
    present = set(names)
    chosen = [INDEX_NAME, SCHEDULER_NAME, "unet/config.json"]
    if missing := [name for name in chosen if name not in present]:
        raise CheckpointError(
            f"{where} lacks {', '.join(missing)}; name an unconditional checkpoint in diffusers' "
            "layout, such as teticio/audio-diffusion-256"
        )
    folders = ["unet", *(part for part in VAE_FOLDERS if f"{part}/config.json" in present)]
    for part in folders:
        chosen += [f"{part}/config.json"]
        chosen += weight_files(present, part, prefer_half=prefer_half, where=where)
    chosen += [name for name in (MEL_NAME, PARAMS_NAME) if name in present]
    return sorted(set(chosen))
