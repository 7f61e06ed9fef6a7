"""Making networks from a configuration, and giving them weights to start from."""

import inspect
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from riffusion.checkpoint.files import read_json, read_weights, weight_files
from riffusion.errors import CheckpointError, InputError

logger = logging.getLogger(__name__)


def new_network(network_class: type[Any], options: Mapping[str, Any], section: str) -> Any:
    """A diffusers network with random weights.

    Args:
        network_class: such as `UNet2DConditionModel`.
        options: its keyword arguments.
        section: of the configuration that they come from, for messages.

    Raises:
        InputError: an unknown option, or a combination that the network refuses.
    """
    known = [
        name for name in inspect.signature(network_class.__init__).parameters if name != "self"
    ]
    check_keys(options, known, section, network_class.__name__)
    try:
        return network_class(**options)
    except (ValueError, TypeError, KeyError, NotImplementedError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{section}: {network_class.__name__} refuses this: {reason}") from error


def check_keys(options: Mapping[str, Any], known: list[str], section: str, what: str) -> None:
    """Check that every option is known.

    Raises:
        InputError: one isn't; the known ones are named.
    """
    for name in options:
        if name not in known:
            raise InputError(
                f"{section}.{name} is not an option of {what}; known: {', '.join(sorted(known))}"
            )


def start_from(network: nn.Module, folder: Path, part: str) -> None:
    """Copy a checkpoint's weights into a network, where names and shapes agree.

    Args:
        network: receives them.
        folder: a diffusers folder, or one part of it.
        part: `vae`, `unet`, `text_encoder` …

    Raises:
        InputError: no such part, or nothing in it agrees.
        CheckpointError: its files are damaged.
    """
    weights = part_weights(folder, part)
    own = network.state_dict()
    fitting = {
        name: tensor
        for name, tensor in weights.items()
        if name in own and own[name].shape == tensor.shape
    }
    if not fitting:
        raise InputError(
            f"init_from={str(folder)!r}: none of its {len(weights)} {part} weights has a name and "
            "shape of the configured network; use the network options that it was trained with"
        )
    network.load_state_dict(
        {name: tensor.to(own[name].dtype) for name, tensor in fitting.items()}, strict=False
    )
    logger.info("%s: %d of %d weights from %s", part, len(fitting), len(own), folder)


def part_folder(folder: Path, part: str) -> Path:
    """Where a part of a checkpoint lies: in a folder of its own, or in `folder` itself.

    Raises:
        InputError: it has no such part.
    """
    for place in (folder / part, folder):
        if (place / "config.json").is_file():
            return place
    raise InputError(f"checkpoint={str(folder)!r} has no {part}; name a diffusers folder")


def part_weights(folder: Path, part: str) -> dict[str, torch.Tensor]:
    """Weights of one part of a checkpoint by name.

    Raises:
        InputError: it has no such part.
        CheckpointError: its files are damaged.
    """
    place = part_folder(folder, part)
    names = [f"{part}/{path.name}" for path in place.iterdir()]
    files = weight_files(names, part, where=str(place))
    return read_weights([place / Path(name).name for name in files])


def load_network(network_class: type[Any], folder: Path, part: str) -> Any:
    """A trained network of a checkpoint, in single precision.

    Raises:
        InputError: the checkpoint has no such part.
        CheckpointError: the part is damaged, or its weights don't fit its configuration.
    """
    place = part_folder(folder, part)
    config = read_json(place / "config.json")
    network = network_class.from_config(config)
    weights = {name: tensor.float() for name, tensor in part_weights(folder, part).items()}
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:300]
        raise CheckpointError(f"{place}: {reason}; download the checkpoint again") from error
    return network
