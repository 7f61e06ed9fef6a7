"""The analysis' operations of PyTorch, for GPUs and for gradients."""

import torch
from torch.nn.functional import pad

from riffusion.spectrogram.operations import Array


class TorchOperations:
    """The operations of PyTorch on one device; see `Operations`.

    Args:
        device: device of the computation.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def constant(self, array: Array) -> Array:
        return torch.from_numpy(array).to(self._device)

    def zeros_appended(self, signal: Array, count: int) -> Array:
        return pad(signal, (0, count))

    def reflected(self, signal: Array, width: int) -> Array:
        return pad(signal, (width, width), mode="reflect")

    def windows(self, signal: Array, length: int, step: int) -> Array:
        return signal.unfold(-1, length, step)

    def rfft(self, signal: Array, size: int) -> Array:
        return torch.fft.rfft(signal, size)

    def irfft(self, spectrum: Array, size: int) -> Array:
        return torch.fft.irfft(spectrum, size)

    def joined(self, parts: list[Array], axis: int) -> Array:
        return torch.cat(parts, dim=axis)
