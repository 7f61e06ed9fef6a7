"""Weights in fewer bits: half precision, or 8-bit integers with a scale per output channel.

The integers are symmetric: weight = integer · scale, where scale = largest magnitude in a channel
/ 127.
Only weights of two and more axes are integers; biases and the weights of norms are few, and stay.
Runtimes multiply once, while a graph is loaded, and compute in single precision: a row of a batch
is what it is alone, which activations in 8 bits don't promise.
"""

from __future__ import annotations

import torch
from torch import nn

from riffusion.checkpoint.files import QUANTISED_SUFFIXES

Tensors = dict[str, torch.Tensor]

CALIBRATED = tuple(QUANTISED_SUFFIXES)
"""Precisions in which activations are integers, too, by `riffusion.exporting.quantised_parts`."""
INTEGERS = ("w8", *CALIBRATED)
"""Those that round weights to integers."""
PRECISIONS = ("fp32", "fp16", *INTEGERS)
"""All precisions: types of stored weights."""
DTYPES = {"fp32": torch.float32, "fp16": torch.float16}
"""Types of torch, where all weights have one."""
SCALE_SUFFIX = ".scale"
"""The scale of a weight has its name with this ending."""
_LARGEST = 127


def rounded(network: nn.Module, precision: str) -> Tensors:
    """A network's weights as they are stored; the network's own become equal to them.

    Args:
        network: in single precision; changed.
        precision: one of `PRECISIONS`.

    Returns:
        Tensors by name; for `w8` also the scales.
    """
    tensors: Tensors = {}
    for name, weight in network.state_dict().items():
        if precision == "w8" and weight.ndim > 1:
            integers, scale = quantised(weight)
            tensors |= {name: integers, name + SCALE_SUFFIX: scale}
            stored = integers * scale
        elif not weight.is_floating_point():
            tensors[name] = stored = weight.contiguous()
        else:
            tensors[name] = _converted(weight, precision)
            stored = tensors[name].float()
        if weight is not stored and not torch.equal(weight, stored):
            _replace(network, name, stored)
    return tensors


def quantised(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Integers of a weight's shape, int8, and their scales, (channels, 1, …) float32."""
    largest = weight.abs().flatten(1).amax(1).float()
    scale = torch.where(largest > 0, largest / _LARGEST, torch.ones_like(largest))
    scale = scale.view(-1, *[1] * (weight.ndim - 1))
    integers = (weight.float() / scale).round().clamp(-_LARGEST, _LARGEST)
    return integers.to(torch.int8), scale


def is_rounded(network: nn.Module, precision: str) -> bool:
    """Whether a precision changes a network's weights."""
    dtype = DTYPES.get(precision)
    if dtype is None:
        return True
    return dtype != torch.float32 and any(
        not torch.equal(weight.to(dtype).float(), weight) for weight in network.parameters()
    )


def _converted(weight: torch.Tensor, precision: str) -> torch.Tensor:
    """A weight in a type; small ones of `w8` are in half precision where that changes nothing."""
    dtype = DTYPES.get(precision)
    if dtype is None:
        half = weight.half()
        return half if torch.equal(half.float(), weight) else weight.contiguous()
    return weight.to(dtype).contiguous()


def _replace(network: nn.Module, name: str, values: torch.Tensor) -> None:
    """Replace a weight's values; its old tensor may be a read-only map of a file."""
    path, _, leaf = name.rpartition(".")
    getattr(network.get_submodule(path), leaf).data = values
