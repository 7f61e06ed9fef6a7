"""LoRA, low-rank adaptation (Hu et al. 2021): W is frozen, and an update B·A is trained beside it.

    W' = W + alpha / rank · B · A        A: rank x inputs, B: outputs x rank, initially zero

peft injects the layers into the network; this module selects, exports and merges them.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from riffusion.errors import InputError
from riffusion.training.config import LoraConfig

ADAPTER_NAME = "default"
DEFAULT_MODULES = {
    "unet": ("to_q", "to_k", "to_v", "to_out.0"),
    "text_encoder": ("q_proj", "k_proj", "v_proj", "out_proj"),
}
"""The attention layers, which get LoRA by default."""
_DIFFUSERS_PREFIX = {"unet": "unet.", "text_encoder": "text_encoder.text_model."}


def add_lora(network: nn.Module, part: str, config: LoraConfig) -> None:
    """Freeze a network and add LoRA to its layers, in single precision.

    Args:
        network: changed in place; its output stays the same at first, as the updates are zero.
        part: `unet` or `text_encoder`.
        config: see `LoraConfig`.

    Raises:
        InputError: no linear or convolutional layer's name ends in one of the configured names.
    """
    import peft

    modules = getattr(config, f"{part}_modules") or DEFAULT_MODULES[part]
    names = [name for name, layer in network.named_modules() if isinstance(layer, _KINDS)]
    for module in modules:
        if not any(name == module or name.endswith(f".{module}") for name in names):
            ends = sorted({name.rpartition(".")[2] for name in names if not name[-1].isdigit()})
            raise InputError(
                f"lora.{part}_modules: no linear or convolutional layer's name ends in {module!r}; "
                f"names end in {', '.join(ends)}; prefix them with the name before to be specific"
            )
    network.requires_grad_(False)
    options = peft.LoraConfig(
        r=config.rank,
        lora_alpha=config.alpha or config.rank,
        lora_dropout=config.dropout,
        target_modules=list(modules),
    )
    peft.inject_adapter_in_model(options, network, adapter_name=ADAPTER_NAME)
    for parameter in network.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()


@contextmanager
def without_lora(network: nn.Module) -> Iterator[None]:
    """Compute as the frozen network alone within the block; LoRA stays trainable."""
    layers = [layer for _, layer in _lora_layers(network)]
    try:
        for layer in layers:
            layer._disable_adapters = True  # peft's own switch also freezes LoRA
        yield
    finally:
        for layer in layers:
            layer._disable_adapters = False


def merged_weights(base: Mapping[str, torch.Tensor], network: nn.Module) -> dict[str, torch.Tensor]:
    """Weights of a plain network that computes the same as `network` with LoRA.

    Args:
        base: weights of the network before `add_lora`, in single precision on the CPU.
        network: the network with LoRA, in any precision.
    """
    merged = dict(base)
    for name, layer in _lora_layers(network):
        update = layer.get_delta_weight(ADAPTER_NAME).float().cpu()
        merged[f"{name}.weight"] = base[f"{name}.weight"] + update
    return merged


def adapter_weights(network: nn.Module, part: str) -> dict[str, torch.Tensor]:
    """LoRA weights under the names that diffusers' `load_lora_weights` expects, in half precision.

    alpha / rank is multiplied into B, so the file works in programs that don't know alpha.

    Args:
        network: the network with LoRA.
        part: `unet` or `text_encoder`.
    """
    prefix = _DIFFUSERS_PREFIX[part]
    weights = {}
    for name, layer in _lora_layers(network):
        down, up = layer.lora_A[ADAPTER_NAME].weight, layer.lora_B[ADAPTER_NAME].weight
        scaled = up.detach().float() * layer.scaling[ADAPTER_NAME]
        weights[f"{prefix}{name}.lora_A.weight"] = down.detach().half().cpu().contiguous()
        weights[f"{prefix}{name}.lora_B.weight"] = scaled.half().cpu().contiguous()
    return weights


def _lora_layers(network: nn.Module) -> Iterator[tuple[str, Any]]:
    from peft.tuners.lora import LoraLayer

    for name, layer in network.named_modules():
        if isinstance(layer, LoraLayer):
            yield name, layer


_KINDS = (nn.Linear, nn.Conv2d)
