"""Low-rank updates of a network (Hu et al. 2021, "LoRA"): W is frozen, and B·A beside it learned.

    W' = W + alpha / rank · B · A        A: rank x inputs, B: outputs x rank, zero at first

peft puts the layers into the network; here they are chosen, read out and merged.
"""

from collections.abc import Iterator, Mapping
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
"""The attention's layers, which get updates if nothing else is asked for."""
_DIFFUSERS_PREFIX = {"unet": "unet.", "text_encoder": "text_encoder.text_model."}


def add_lora(network: nn.Module, part: str, config: LoraConfig) -> None:
    """Freeze a network and put updates beside its layers, in single precision.

    Args:
        network: changed in place; computes what it did, as the updates are zero at first.
        part: `unet` or `text_encoder`.
        config: see `LoraConfig`.

    Raises:
        InputError: no layer has a name that ends like that, or one is of a kind that has no update.
    """
    import peft

    modules = getattr(config, f"{part}_modules") or DEFAULT_MODULES[part]
    names = [name for name, layer in network.named_modules() if isinstance(layer, _KINDS)]
    for module in modules:
        if not any(name == module or name.endswith(f".{module}") for name in names):
            ends = sorted({name.rpartition(".")[2] for name in names if not name[-1].isdigit()})
            raise InputError(
                f"lora.{part}_modules: no linear or convolutional layer's name ends in {module!r}; "
                f"names end in {', '.join(ends)}, with the names before them where those are alike"
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


def merged_weights(base: Mapping[str, torch.Tensor], network: nn.Module) -> dict[str, torch.Tensor]:
    """Weights of the network without updates that computes what `network` does with them.

    Args:
        base: weights of the network before `add_lora`, in single precision on the CPU.
        network: with updates, in any precision.
    """
    merged = dict(base)
    for name, layer in _updated_layers(network):
        update = layer.get_delta_weight(ADAPTER_NAME).float().cpu()
        merged[f"{name}.weight"] = base[f"{name}.weight"] + update
    return merged


def adapter_weights(network: nn.Module, part: str) -> dict[str, torch.Tensor]:
    """Updates under the names that diffusers' `load_lora_weights` knows, in half precision.

    alpha / rank is multiplied into B. So the file means the same to every program, whether or not
    it has been told alpha.

    Args:
        network: with updates.
        part: `unet` or `text_encoder`.
    """
    prefix = _DIFFUSERS_PREFIX[part]
    weights = {}
    for name, layer in _updated_layers(network):
        down, up = layer.lora_A[ADAPTER_NAME].weight, layer.lora_B[ADAPTER_NAME].weight
        scaled = up.detach().float() * layer.scaling[ADAPTER_NAME]
        weights[f"{prefix}{name}.lora_A.weight"] = down.detach().half().cpu().contiguous()
        weights[f"{prefix}{name}.lora_B.weight"] = scaled.half().cpu().contiguous()
    return weights


def _updated_layers(network: nn.Module) -> Iterator[tuple[str, Any]]:
    from peft.tuners.lora import LoraLayer

    for name, layer in network.named_modules():
        if isinstance(layer, LoraLayer):
            yield name, layer


_KINDS = (nn.Linear, nn.Conv2d)
