"""The operations of PyTorch, for GPUs and for gradients."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch.nn.functional import pad

from riffusion.spectrogram.operations import Array, Block


class TorchOperations:
    """The operations of PyTorch on one device; see `Operations`.

    The filterbank is one dense matrix: a GPU computes its product in less than a millisecond, and
    in a fixed order, which sparse products don't have there.

    Args:
        device: device of the computation.
    """

    functions: ModuleType = torch
    weights_per_product = 2**62
    frames_at_once = 16384

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def constant(self, array: Array) -> Array:
        return torch.from_numpy(array).to(self._device)

    def floats(self, values: Array) -> Array:
        tensor = torch.from_numpy(values) if isinstance(values, np.ndarray) else values
        return tensor.to(self._device, torch.float32)

    def as_given(self, result: Array, given: Array) -> Array:
        return result.cpu().numpy() if isinstance(given, np.ndarray) else result

    def zeros(self, *shape: int) -> Array:
        return torch.zeros(*shape, device=self._device)

    def numbers(self, count: int) -> Array:
        return torch.arange(count, device=self._device)

    def zeros_appended(self, signal: Array, count: int) -> Array:
        return pad(signal, (0, count))

    def reflected(self, signal: Array, width: int) -> Array:
        return pad(signal, (width, width), mode="reflect")

    def reversed(self, signal: Array) -> Array:
        return signal.flip(-1)

    def windows(self, signal: Array, length: int, step: int) -> Array:
        return signal.unfold(-1, length, step)

    def rfft(self, signal: Array, size: int) -> Array:
        return torch.fft.rfft(signal, size)

    def irfft(self, spectrum: Array, size: int) -> Array:
        return torch.fft.irfft(spectrum, size)

    def polar(self, magnitudes: Array, phases: Array) -> Array:
        return torch.polar(magnitudes, phases)

    def joined(self, parts: list[Array], axis: int) -> Array:
        return torch.cat(parts, dim=axis)

    def products_joined(self, products: list[tuple[Array, Array]]) -> Array:
        return torch.cat([values @ weights for values, weights in products], -1)

    def where_true(self, condition: Array) -> tuple[Array, ...]:
        return torch.nonzero(condition, as_tuple=True)

    def repeated(self, counts: Array, size: int) -> Array:
        return torch.repeat_interleave(counts, output_size=size)

    def without_gradients(self) -> AbstractContextManager[Any]:
        return torch.no_grad()

    def in_blocks(self, compute: Callable[[Block], None], num_clips: int, num_rows: int) -> None:
        compute((slice(0, num_clips), slice(0, num_rows)))
