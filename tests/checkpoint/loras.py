"""LoRAs for a tiny model, written by diffusers, PEFT and `riffusion train`, and as kohya does."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import StableDiffusionPipeline
from diffusers.utils import convert_state_dict_to_diffusers
from peft import LoraConfig, get_peft_model
from peft.utils import get_peft_model_state_dict
from safetensors.torch import save_file
from torch import nn

from riffusion.datatypes import LoraInput
from riffusion.diffusion.loras import LoraLibrary, LoraStack, Networks
from riffusion.training.adapters.lora import adapter_weights
from riffusion.training.export.adapter import write_adapter
from tests.checkpoint.checkpoints import TinyModel

Tensors = dict[str, torch.Tensor]

TARGETS = {
    "unet": [
        *("to_q", "to_v", "to_out.0", "proj_in", "ff.net.2"),
        *("conv1", "time_emb_proj", "downsamplers.0.conv"),
    ],
    "text_encoder": ["q_proj", "out_proj", "fc1"],
}
BOTH = ("unet", "text_encoder")
RANK, ALPHA = 4, 6.0
SIZE_OF_B = {"unet": 0.05, "text_encoder": 0.3}
"""Standard deviation of B, so that images change clearly."""


@dataclass
class TinyLora:
    """A random LoRA for a tiny model.

    Args:
        networks: by part, as models of PEFT.
        deltas: alpha / rank · B · A by part and layer, multiplied out here.
    """

    networks: dict[str, Any]
    deltas: dict[str, Tensors]

    def merge_into(self, pipeline: Any, weight: float = 1.0) -> None:
        """Add the LoRA to a pipeline's weights."""
        with torch.no_grad():
            for part, deltas in self.deltas.items():
                for name, delta in deltas.items():
                    getattr(pipeline, part).get_submodule(name).weight.add_(weight * delta)

    def matrices(self, part: str) -> Tensors:
        """A and B under the names of `lora_A.weight` and `lora_B.weight` of the layers."""
        tensors = get_peft_model_state_dict(self.networks[part])
        return {name.removeprefix("base_model.model."): value for name, value in tensors.items()}

    def config(self, part: str) -> dict[str, Any]:
        """Settings of PEFT."""
        settings: dict[str, Any] = self.networks[part].peft_config["default"].to_dict()
        return settings


def tiny_lora(
    model: TinyModel, parts: Sequence[str] = BOTH, *, seed: int = 0, **settings: Any
) -> TinyLora:
    """A random LoRA.

    Args:
        model: what it is for.
        parts: `unet`, `text_encoder`, or both.
        seed: of its values.
        settings: further settings of PEFT.
    """
    networks, deltas = {}, {}
    for part in parts:
        config = LoraConfig(
            r=RANK, lora_alpha=ALPHA, target_modules=TARGETS[part], **settings  # type: ignore[arg-type]
        )  # fmt: skip
        network = get_peft_model(copy.deepcopy(getattr(model, part)), config)
        generator = torch.Generator().manual_seed(seed)
        for name, weight in network.named_parameters():
            if "lora_B" in name:
                nn.init.normal_(weight, std=SIZE_OF_B[part], generator=generator)
            elif "lora_A" in name:
                nn.init.normal_(weight, std=weight[0].numel() ** -0.5, generator=generator)
        networks[part] = network
        deltas[part] = {
            name: _delta(layer, config.use_rslora, config.alpha_pattern, name)
            for name, layer in network.base_model.model.named_modules()
            if hasattr(layer, "lora_A")
        }
    return TinyLora(networks, deltas)


def _delta(layer: Any, use_rslora: bool, alphas: dict[str, int], name: str) -> torch.Tensor:
    down, up = (matrix["default"].weight.detach() for matrix in (layer.lora_A, layer.lora_B))
    alpha = next((alpha for end, alpha in alphas.items() if name.endswith(end)), ALPHA)
    scale = alpha / (RANK**0.5 if use_rslora else RANK)
    product = torch.einsum("or,ri->oi", up.flatten(1), down.flatten(1))
    return (scale * product).reshape(layer.base_layer.weight.shape)


def write_diffusers(lora: TinyLora, folder: Path) -> Path:
    """As diffusers' training scripts do, with alpha in the file's header."""
    options: dict[str, Any] = {}
    for part in lora.networks:
        options[f"{part}_lora_layers"] = lora.matrices(part)
        options[f"{part}_lora_adapter_metadata"] = lora.config(part)
    StableDiffusionPipeline.save_lora_weights(folder, **options)
    return folder / "pytorch_lora_weights.safetensors"


def write_diffusers_pickle(lora: TinyLora, folder: Path) -> Path:
    """With names from before PEFT, as a pickle. Alpha is the rank, so B has the rest."""
    options: dict[str, Any] = {}
    for part in lora.networks:
        scaled = {
            name.replace("encoder.", "text_model.encoder.", 1): tensor * (ALPHA / RANK)
            if "lora_B" in name
            else tensor
            for name, tensor in lora.matrices(part).items()
        }
        options[f"{part}_lora_layers"] = convert_state_dict_to_diffusers(scaled)
    StableDiffusionPipeline.save_lora_weights(folder, safe_serialization=False, **options)
    return folder / "pytorch_lora_weights.bin"


def write_peft(lora: TinyLora, folder: Path) -> Path:
    """PEFT's folder, for a LoRA of one network."""
    (network,) = lora.networks.values()
    network.save_pretrained(folder)
    return folder


def write_kohya(lora: TinyLora, folder: Path) -> Path:
    """kohya's naming: a prefix, the layer's path with underscores, and down, up and alpha."""
    tensors: Tensors = {}
    for part in lora.networks:
        prefix = {"unet": "lora_unet_", "text_encoder": "lora_te_text_model_"}[part]
        for name, tensor in lora.matrices(part).items():
            layer, matrix = name.removesuffix(".weight").rsplit(".", 1)
            stem = prefix + layer.replace(".", "_")
            kind = {"lora_A": "lora_down", "lora_B": "lora_up"}[matrix]
            tensors[f"{stem}.{kind}.weight"] = tensor.contiguous()
            tensors[f"{stem}.alpha"] = torch.tensor(ALPHA)
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / "kohya.safetensors", metadata={"ss_network_alpha": "6.0"})
    return folder / "kohya.safetensors"


def write_ours(lora: TinyLora, folder: Path) -> Path:
    """The adapter of `riffusion train`, a folder. It is in half precision."""
    weights: Tensors = {}
    for part, network in lora.networks.items():
        weights |= adapter_weights(network.base_model.model, part)
    write_adapter(folder, weights, {}, "tiny")
    return folder


def recorded_weights(monkeypatch: pytest.MonkeyPatch) -> list[tuple[float, ...]]:
    """A list that gets the weights of the LoRAs of each request from now on."""
    used: list[tuple[float, ...]] = []
    stack = LoraLibrary.stack

    def recorded(self: LoraLibrary, wanted: Sequence[LoraInput], networks: Networks) -> LoraStack:
        found = stack(self, wanted, networks)
        used.append(tuple(weight for _, weight in found.members))
        return found

    monkeypatch.setattr(LoraLibrary, "stack", recorded)
    return used
