"""Builds networks from a configuration, and loads weights of checkpoints."""

import inspect
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from riffusion.checkpoint import autoencoders
from riffusion.checkpoint.files import first_line, read_json, read_weights, weight_files
from riffusion.errors import CheckpointError, InputError

logger = logging.getLogger(__name__)

_REFUSALS = (
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    AssertionError,
    NotImplementedError,
    RuntimeError,
)
"""What the constructors of diffusers' networks raise for values that don't fit each other."""


def new_network(network_class: type[Any], options: Mapping[str, Any], section: str) -> Any:
    """A diffusers network with random weights.

    Args:
        network_class: such as `UNet2DConditionModel`.
        options: its keyword arguments.
        section: the section of the configuration that the options come from, for messages.

    Raises:
        InputError: an option is unknown, or the network refuses a value or combination.
    """
    known = [
        name for name in inspect.signature(network_class.__init__).parameters if name != "self"
    ]
    check_keys(options, known, section, network_class.__name__)
    try:
        return network_class(**options)
    except _REFUSALS as error:
        raise InputError(
            f"{section}: {network_class.__name__} refuses this: {first_line(error)}"
        ) from error


def check_keys(options: Mapping[str, Any], known: list[str], section: str, what: str) -> None:
    """Check that every option is known.

    Raises:
        InputError: an option is unknown; the message lists the known ones.
    """
    for name in options:
        if name not in known:
            raise InputError(
                f"{section}.{name} is not an option of {what}; known: {', '.join(sorted(known))}"
            )


def check_fixed_options(
    options: Mapping[str, Any], fixed: Mapping[str, Any], section: str, reason: str
) -> None:
    """Check configured options whose values follow from something else, such as the data.

    Args:
        options: the options as configured.
        fixed: the only allowed values.
        section: the section of the configuration, for the message.
        reason: what determines the values, as in `the VAE`.

    Raises:
        InputError: an option is configured with another value.
    """
    for name, value in fixed.items():
        given = options.get(name, value)
        if (tuple(given) if isinstance(given, list) else given) != value:
            raise InputError(
                f"{section}.{name}={given!r} must be {value!r} to fit {reason}; leave it out"
            )


def start_from(network: nn.Module, folder: Path, part: str) -> None:
    """Copy a checkpoint's weights into a network, where names and shapes match.

    Args:
        network: receives the weights.
        folder: a diffusers folder, or one part of it.
        part: `vae`, `unet`, `text_encoder` …

    Raises:
        InputError: the checkpoint has no such part, or none of its weights match.
        CheckpointError: its files are damaged.
    """
    weights = part_weights(folder, part)
    own = network.state_dict()
    matching = {
        name: tensor
        for name, tensor in weights.items()
        if name in own and own[name].shape == tensor.shape
    }
    if not matching:
        raise InputError(
            f"init_from={str(folder)!r}: none of its {len(weights)} {part} weights matches the "
            "configured network in name and shape; use the network options that it was trained with"
        )
    network.load_state_dict(
        {name: tensor.to(own[name].dtype) for name, tensor in matching.items()}, strict=False
    )
    logger.info("%s: %d of %d weights from %s", part, len(matching), len(own), folder)


def part_folder(folder: Path, part: str) -> Path:
    """Folder of one part of a checkpoint: its subfolder, or `folder` itself.

    Raises:
        InputError: the checkpoint has no such part.
    """
    for candidate in (folder / part, folder):
        if (candidate / "config.json").is_file():
            return candidate
    raise InputError(f"checkpoint={str(folder)!r} has no {part}; name a diffusers folder")


def part_weights(folder: Path, part: str) -> dict[str, torch.Tensor]:
    """Weights of one part of a checkpoint, by name.

    Raises:
        InputError: the checkpoint has no such part.
        CheckpointError: its files are damaged.
    """
    directory = part_folder(folder, part)
    names = [f"{part}/{path.name}" for path in directory.iterdir()]
    files = weight_files(names, part, where=str(directory))
    return read_weights([directory / Path(name).name for name in files])


def load_autoencoder(folder: Path) -> Any:
    """The autoencoder of a checkpoint, of the class that its configuration names.

    Raises:
        InputError, CheckpointError: as `load_network`; or the class isn't supported, or its images
            aren't RGB.
    """
    path = part_folder(folder, "vae") / "config.json"
    vae = load_network(autoencoders.class_of(read_json(path), path), folder, "vae")
    encoded, decoded = autoencoders.num_colours(vae)
    if (encoded, decoded) != (3, 3):
        raise CheckpointError(
            f"{path}: in_channels={encoded} and out_channels={decoded} must be 3, as images are "
            "read as RGB; name another autoencoder"
        )
    return vae


def load_network(network_class: type[Any], folder: Path, part: str) -> Any:
    """A network of a checkpoint with its weights, in single precision.

    Raises:
        InputError: the checkpoint has no such part.
        CheckpointError: the part is damaged, or its weights don't match its configuration.
    """
    directory = part_folder(folder, part)
    config = read_json(directory / "config.json")
    try:
        network = network_class.from_config(config)
    except _REFUSALS as error:
        raise CheckpointError(
            f"{directory / 'config.json'} does not fit {network_class.__name__} "
            f"({first_line(error)}); download the checkpoint again"
        ) from error
    weights = {name: tensor.float() for name, tensor in part_weights(folder, part).items()}
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:300]
        raise CheckpointError(f"{directory}: {reason}; download the checkpoint again") from error
    return network
