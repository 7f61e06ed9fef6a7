"""LoRA files: low-rank updates of a checkpoint's layers (Hu et al. 2021), in three formats.

    W' = W + weight · alpha / rank · B · A        A: rank x inputs, B: outputs x rank

diffusers   `unet.….lora_A.weight` or `….lora.down.weight`, and `text_encoder.…`
PEFT        `base_model.model.….lora_A.weight`, with adapter_config.json beside it
kohya       `lora_unet_….lora_down.weight` and `….alpha`, and `lora_te_…`

diffusers' own converters bring all names to PEFT's. Alpha is in tensors of its own, in the file's
header or in adapter_config.json; where a file has none, it equals the rank, as in diffusers.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers.loaders import StableDiffusionLoraLoaderMixin
from diffusers.utils import state_dict_utils
from torch import nn

from riffusion.checkpoint.files import abridged, first_line, read_weights
from riffusion.checkpoint.kinds import foreign_kind
from riffusion.checkpoint.lora_scaling import LoraScaling, find_scaling
from riffusion.errors import CheckpointError, InputError

FILE_SUFFIXES = (".safetensors", ".bin", ".pt", ".ckpt")
FOLDER_STEMS = ("adapter_model", "pytorch_lora_weights")
"""Names of the weights in a folder, as PEFT and diffusers write them."""
PARTS = ("unet", "text_encoder")

_KOHYA = ("lora_unet_", "lora_te_", "lora_te1_", "lora_te2_")
_TEXT_LAYER = re.compile(r"(text_model\.)?encoder\.layers\.")
_REMEDY = "merge it into its checkpoint and name that as the checkpoint"
_OTHERS = [  # (a pattern for the name of a tensor, what the file is, the remedy); the first counts
    (r"(lora_te2_|text_encoder_2\.)", "a LoRA for Stable Diffusion XL",
     "use one for Stable Diffusion 1.x"),
    (r"(lora_transformer_|transformer\.|diffusion_model\.)", "a LoRA for a transformer such as "
     "Flux's", "use one for Stable Diffusion 1.x"),
    (r".*\.(hada_w[12]|lokr_w[12]|oft_|diff(_b)?$|on_input$)", "a LyCORIS adapter", _REMEDY),
    (r".*\.(dora_scale|lora_magnitude_vector)", "a DoRA", _REMEDY),
    (r".*\.lora_mid\.", "a LoRA with a third matrix (lora_mid)", _REMEDY),
]  # fmt: skip
_LORA_NAME = re.compile(r"(?P<layer>.+)\.lora_(?P<matrix>[AB])\.weight")


@dataclass(frozen=True, eq=False)
class LowRankUpdate:
    """The update of one layer.

    Args:
        down: A, (rank, inputs…), with the kernel's size for a convolution.
        up: B, (outputs, rank…).
        scale: alpha / rank.
    """

    down: torch.Tensor
    up: torch.Tensor
    scale: float

    def of(self, weight: torch.Tensor) -> torch.Tensor:
        """The update alpha / rank · B · A in float32, with shape and device of `weight`."""
        up, down = (
            matrix.to(weight.device, torch.float32).flatten(1) for matrix in (self.up, self.down)
        )
        return self.scale * (up @ down).view(weight.shape)


@dataclass(frozen=True, eq=False)
class Lora:
    """A LoRA that fits a checkpoint. Two of them are equal only if they are the same object.

    Args:
        path: where it was read from.
        updates: by part (`unet`, `text_encoder`) and name of the layer.
    """

    path: Path
    updates: Mapping[str, Mapping[str, LowRankUpdate]]


def lora_file(path: Path) -> Path:
    """The file with a LoRA's weights: the path itself, or the file in a folder.

    Raises:
        InputError: there is none.
    """
    if path.is_file():
        return path
    if not path.is_dir():
        raise InputError(f"{str(path)!r} does not exist; name a LoRA's file or folder")
    names = [f"{stem}{suffix}" for stem in FOLDER_STEMS for suffix in FILE_SUFFIXES[:2]]
    found = next((path / name for name in names if (path / name).is_file()), None)
    if found is None:
        raise InputError(
            f"{str(path)!r} has no {FOLDER_STEMS[0]}.safetensors or {FOLDER_STEMS[1]}.safetensors; "
            "name the LoRA's file itself"
        )
    return found


def read_lora_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Read a LoRA's tensors by name; pickles with `weights_only=True`.

    Args:
        path: a file or a folder.

    Raises:
        InputError: no such file, or it is damaged, or no LoRA of Stable Diffusion 1.x.
    """
    try:
        tensors = read_weights([lora_file(path)])
    except CheckpointError as error:
        raise InputError(str(error)) from error
    for pattern, kind, remedy in _OTHERS:
        if any(re.match(pattern, name) for name in tensors):
            raise InputError(f"{path} is {kind}; {remedy}")
    if not any("lora" in name for name in tensors):
        kind = (foreign_kind(tensors) or "").partition(";")[0].partition(",")[0]
        what = f"is {kind}, not a LoRA" if kind else f"holds no LoRA, but {abridged(tensors)}"
        raise InputError(f"{path} {what if tensors else 'is empty'}; name a LoRA's file")
    return tensors


def read_lora(path: Path, networks: Mapping[str, nn.Module]) -> Lora:
    """Read a LoRA, and check that it fits a checkpoint.

    Args:
        path: a file or a folder.
        networks: the checkpoint's `unet` and `text_encoder`.

    Raises:
        InputError: no such file, or it is damaged, no LoRA, or one for another model.
    """
    tensors = read_lora_tensors(path)
    scaling = find_scaling(lora_file(path))
    try:
        parts, alphas = _peft_names(tensors, networks)
    except (ValueError, KeyError, IndexError, RuntimeError) as error:  # of diffusers' converters
        raise InputError(
            f"{path} has layers that Stable Diffusion 1.x lacks ({first_line(error)}); use a LoRA "
            "for this checkpoint"
        ) from error
    return Lora(
        path,
        {
            part: _updates(path, part, networks[part], parts[part], alphas[part], scaling)
            for part in PARTS
        },
    )


def _peft_names(
    tensors: dict[str, torch.Tensor], networks: Mapping[str, nn.Module]
) -> tuple[dict[str, dict[str, Any]], dict[str, dict[str, float]]]:
    """Tensors and alphas by part, under the layers' names as PEFT has them."""
    found_alphas: Mapping[str, float] | None = None
    if all(name.startswith(_KOHYA) for name in tensors):
        tensors, found_alphas = StableDiffusionLoraLoaderMixin.lora_state_dict(
            dict(tensors), unet_config=networks["unet"].config
        )
    matrices: dict[str, dict[str, Any]] = {part: {} for part in PARTS}
    alphas: dict[str, dict[str, Any]] = {part: {} for part in PARTS}
    for name, value in {**tensors, **(found_alphas or {})}.items():
        part, rest = _part_and_name(name)
        (alphas if name.endswith(".alpha") else matrices)[part][rest] = value
    named = {part: _converted(part, values) for part, values in matrices.items()}
    by_layer = {
        part: {
            re.split(r"\.lora_[AB]\b|\.alpha$", name)[0]: float(value)
            for name, value in _converted(part, values).items()
        }
        for part, values in alphas.items()
    }
    return named, by_layer


def _part_and_name(name: str) -> tuple[str, str]:
    """The part that a tensor belongs to, and its name within."""
    name = name.removeprefix("base_model.model.")
    for part in PARTS:
        if name.startswith(f"{part}."):
            return part, name.removeprefix(f"{part}.").removeprefix("text_model.")
    if _TEXT_LAYER.match(name):
        return "text_encoder", name.removeprefix("text_model.")
    return "unet", name


def _converted(part: str, values: dict[str, Any]) -> dict[str, Any]:
    if part == "unet":
        return dict(state_dict_utils.convert_unet_state_dict_to_peft(values))
    old = state_dict_utils.StateDictType.DIFFUSERS_OLD  # includes the names of the new type
    return dict(state_dict_utils.convert_state_dict_to_peft(values, original_type=old))


def _updates(
    path: Path,
    part: str,
    network: nn.Module,
    tensors: Mapping[str, torch.Tensor],
    alphas: Mapping[str, float],
    scaling: LoraScaling,
) -> dict[str, LowRankUpdate]:
    """The updates of one network's layers, each of which fits its layer."""
    pairs: dict[str, dict[str, torch.Tensor]] = {}
    for name, tensor in tensors.items():
        match = _LORA_NAME.fullmatch(name)
        if match is None:
            raise InputError(f"{path}: {name} is no LoRA of a layer's weight; {_REMEDY}")
        pairs.setdefault(match["layer"], {})[match["matrix"]] = tensor
    weights = {
        name: layer.weight
        for name, layer in network.named_modules()
        if isinstance(layer, (nn.Linear, nn.Conv2d))
    }
    if unknown := sorted(pairs.keys() - weights.keys()):
        raise InputError(
            f"{path}: {len(unknown)} of {len(pairs)} layers match nothing in this checkpoint's "
            f"{part} ({abridged(unknown)}); use a LoRA that was trained on this checkpoint"
        )
    updates = {}
    for name, pair in pairs.items():
        _check_pair(f"{path}: {part}.{name}", pair, weights[name].shape)
        rank = pair["A"].shape[0]
        alpha = alphas.get(name)
        scale = scaling.of(part, name, rank) if alpha is None else alpha / rank
        if not math.isfinite(scale):
            raise InputError(f"{path}: {part}.{name} has alpha={alpha}; download the LoRA again")
        updates[name] = LowRankUpdate(pair["A"], pair["B"], scale)
    return updates


def _check_pair(where: str, pair: Mapping[str, torch.Tensor], shape: Iterable[int]) -> None:
    """Check that A and B are both there, finite, and multiply to a layer's shape."""
    outputs, *inputs = shape
    if pair.keys() != {"A", "B"}:
        raise InputError(f"{where} lacks one of its two matrices; download the LoRA again")
    down, up = pair["A"], pair["B"]
    num_inputs = torch.Size(inputs).numel()
    if (
        min(down.ndim, up.ndim) < 2
        or up.shape[0] != outputs
        or up.shape[1:].numel() != down.shape[0]
        or down.shape[1:].numel() != num_inputs
    ):
        raise InputError(
            f"{where} has matrices of shape {tuple(up.shape)} and {tuple(down.shape)}, but the "
            f"layer has {outputs} outputs and {num_inputs} inputs; use a LoRA that was trained on "
            "this checkpoint"
        )
    if not (down.is_floating_point() and up.is_floating_point()) or not all(
        bool(matrix.isfinite().all()) for matrix in (down, up)
    ):
        raise InputError(f"{where} has values that are not finite numbers; download the LoRA again")
