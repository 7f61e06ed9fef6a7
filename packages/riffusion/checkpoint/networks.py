"""Building the networks, tokenizer and scheduler of a checkpoint, and checking that they fit."""

from __future__ import annotations

import copy
from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import diffusers
import torch
from accelerate import init_empty_weights
from diffusers import UNet2DConditionModel, UNet2DModel
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from riffusion.checkpoint import autoencoders
from riffusion.checkpoint.files import TOKENIZER_NAMES, abridged, first_line
from riffusion.errors import CheckpointError

_CLASSES = {
    "unet": UNet2DConditionModel,
    "unconditional_unet": UNet2DModel,
    "text_encoder": CLIPTextModel,
}

_OLD_ATTENTION_NAMES = {  # in attention without text before diffusers 0.12
    ".query.": ".to_q.",
    ".key.": ".to_k.",
    ".value.": ".to_v.",
    ".proj_attn.": ".to_out.0.",
}


def build_network(
    part: str,
    config: dict[str, Any],
    weights: Mapping[str, torch.Tensor],
    dtype: torch.dtype,
    path: Path,
) -> Any:
    """Build the network of one part, on the CPU, for inference.

    Every weight must be present and used: a missing one would silently stay random. Tensors that
    already have the right precision stay memory-mapped.

    Args:
        part: `vae`, `unet`, `unconditional_unet` or `text_encoder`.
        config: the network's configuration in diffusers' or transformers' terms.
        weights: tensors by name; names of older releases are accepted.
        dtype: precision to compute in.
        path: path to name in error messages.

    Raises:
        CheckpointError: the configuration is invalid for this network, or the weights don't fit it.
    """
    network = _empty_network(part, config, path)
    expected = network.state_dict()
    named = {current_name(part, name): tensor for name, tensor in weights.items()}
    named.pop("embeddings.position_ids", None)  # a constant, stored by older releases
    class_name = type(network).__name__
    if missing := sorted(expected.keys() - named.keys()):
        raise CheckpointError(
            f"{path} lacks {len(missing)} of the {len(expected)} weights of its {class_name} "
            f"({abridged(missing)}); download the checkpoint again"
        )
    if unexpected := sorted(named.keys() - expected.keys()):
        raise CheckpointError(
            f"{path} has {len(unexpected)} weights that its {class_name} has no place for "
            f"({abridged(unexpected)}); the configuration is of another model, download both again"
        )
    for name, tensor in named.items():
        if tensor.shape != expected[name].shape or not tensor.is_floating_point():
            raise CheckpointError(
                f"{path}: {name} is {tensor.dtype} of shape {tuple(tensor.shape)}, its "
                f"configuration asks for floating point of shape {tuple(expected[name].shape)}; "
                "one of them is of another model, download both again"
            )
    network.load_state_dict({name: tensor.to(dtype) for name, tensor in named.items()}, assign=True)
    _check_finite(network, path, dtype)
    return network.eval()


def build_scheduler(config: dict[str, Any], path: Path) -> Any:
    """Build the scheduler that a checkpoint was published with.

    Raises:
        CheckpointError: the class is unknown, or its settings are not valid.
    """
    name = config.get("_class_name")
    kind = getattr(diffusers, str(name), None)
    if not (isinstance(kind, type) and hasattr(kind, "set_timesteps")):
        raise CheckpointError(
            f"{path}: _class_name={name!r} is not a scheduler of diffusers; PNDMScheduler is the "
            "usual one"
        )
    try:
        return kind.from_config(config)  # type: ignore[attr-defined]
    except Exception as error:  # constructors can raise anything on foreign settings
        raise CheckpointError(
            f"{path} does not describe a {name} ({first_line(error)}); download the checkpoint "
            "again"
        ) from error


def load_tokenizer(folder: Path) -> Any:
    """Load the tokenizer from a folder, with or without today's `tokenizer.json`.

    Raises:
        CheckpointError: the files are missing or broken.
    """
    try:
        with _without_byte_order_marks(folder) as readable:
            tokenizer = CLIPTokenizer.from_pretrained(str(readable), local_files_only=True)
    except Exception as error:  # the tokenizers library raises plain Exception
        raise CheckpointError(
            f"{folder} is not a CLIP tokenizer ({first_line(error)}); download its vocab.json "
            "and merges.txt again"
        ) from error
    if tokenizer.pad_token is None:  # as CLIP does
        tokenizer.pad_token = tokenizer.eos_token
    if None in (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id):
        raise CheckpointError(
            f"{folder} has no ids for {tokenizer.bos_token!r} and {tokenizer.eos_token!r}; it is "
            "not a CLIP tokenizer, use the one that came with the checkpoint"
        )
    return tokenizer


@contextmanager
def _without_byte_order_marks(folder: Path) -> Iterator[Path]:
    """A tokenizer's folder whose files begin with their text; a copy if one has a mark."""
    files = [folder / name for name in TOKENIZER_NAMES if (folder / name).is_file()]
    marks = {BOM_UTF8: "utf-8-sig", BOM_UTF16_LE: "utf-16", BOM_UTF16_BE: "utf-16"}
    contents = {path.name: path.read_bytes() for path in files}
    if not any(content.startswith(tuple(marks)) for content in contents.values()):
        yield folder
        return
    with TemporaryDirectory() as copy_folder:
        for name, content in contents.items():
            encoding = next((marks[mark] for mark in marks if content.startswith(mark)), "utf-8")
            (Path(copy_folder) / name).write_bytes(content.decode(encoding).encode())
        yield Path(copy_folder)


def check_agreement(networks: Mapping[str, Any], tokenizer: Any, where: Path) -> None:
    """Check that the parts fit each other, and limit the tokenizer to the encoder's length.

    Args:
        networks: by part.
        tokenizer: its `model_max_length` is lowered to the text encoder's.
        where: path to name in error messages.

    Raises:
        CheckpointError: two parts disagree.
    """
    unet, vae, text = (networks[part].config for part in ("unet", "vae", "text_encoder"))
    encoded_colours, decoded_colours = autoencoders.num_colours(networks["vae"])
    if unet.in_channels == 2 * vae.latent_channels + 1:
        raise CheckpointError(
            f"{where}: unet in_channels={unet.in_channels} is an inpainting model's; masks don't "
            "need one here, use the plain checkpoint"
        )
    rules = [
        ("unet in_channels", unet.in_channels, "vae latent_channels", vae.latent_channels),
        ("unet out_channels", unet.out_channels, "vae latent_channels", vae.latent_channels),
        (
            "unet cross_attention_dim",
            unet.cross_attention_dim,
            "text_encoder hidden_size",
            text.hidden_size,
        ),
        ("vae in_channels", encoded_colours, "the number of colours", 3),
        ("vae out_channels", decoded_colours, "the number of colours", 3),
        (
            "unet addition_embed_type",
            unet.addition_embed_type,
            "that of Stable Diffusion 1.x",
            None,
        ),
        ("unet class_embed_type", unet.class_embed_type, "that of Stable Diffusion 1.x", None),
    ]
    for name, value, rule, expected in rules:
        if value != expected:
            raise CheckpointError(
                f"{where}: {name}={value} must equal {rule}={expected}; use a Stable Diffusion "
                "1.x checkpoint with all its parts as they were published"
            )
    if len(tokenizer) > text.vocab_size:
        raise CheckpointError(
            f"{where}: the tokenizer has {len(tokenizer)} tokens, more than text_encoder "
            f"vocab_size={text.vocab_size}; use the tokenizer that came with the checkpoint"
        )
    tokenizer.model_max_length = min(tokenizer.model_max_length, text.max_position_embeddings)


def _empty_network(part: str, config: dict[str, Any], path: Path) -> Any:
    """The network, with no memory allocated for its weights."""
    network_class = autoencoders.class_of(config, path) if part == "vae" else _CLASSES[part]
    try:
        with init_empty_weights(include_buffers=False):
            if part == "text_encoder":
                return CLIPTextModel(CLIPTextConfig.from_dict(config))
            return network_class.from_config(config)
    except Exception as error:  # constructors can raise anything on foreign settings
        raise CheckpointError(
            f"{path} does not describe a {network_class.__name__} ({first_line(error)}); "
            "download the checkpoint again, or use another one"
        ) from error


def current_name(part: str, name: str) -> str:
    """A weight's name in today's releases."""
    if part == "text_encoder":
        return name.removeprefix("text_model.")
    if part in ("vae", "unconditional_unet"):
        for old, new in _OLD_ATTENTION_NAMES.items():
            name = name.replace(old, new)
    return name


def _check_finite(network: torch.nn.Module, path: Path, dtype: torch.dtype) -> None:
    bad = [
        name
        for name, weight in network.named_parameters()
        if not torch.stack(weight.detach().aminmax()).isfinite().all()
    ]
    if bad:
        raise CheckpointError(
            f"{path} has weights that are not finite in {dtype} ({abridged(bad)}); download the "
            "checkpoint again, or use dtype=float32 if they are too large for half precision"
        )


def half_copy(part: Any) -> Any:
    """A half-precision copy of a network, on the CPU; anything else is returned unchanged."""
    return copy.deepcopy(part).cpu().half() if isinstance(part, nn.Module) else part
