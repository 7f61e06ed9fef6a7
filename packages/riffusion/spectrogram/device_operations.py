"""The operations on the device that is asked for: NumPy's on a CPU, PyTorch's on a GPU."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from riffusion.spectrogram.operations import NumpyOperations, Operations

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)


def gpu_of(device: str | torch.device | None) -> torch.device | None:
    """The GPU that a device's name stands for, or None for the CPU.

    Args:
        device: see `select_device`; MPS falls back to the CPU, because it has no complex FFT. None
            is the CPU, where a clip takes less time than the import of PyTorch.

    Raises:
        InputError: not the name of a supported device.
    """
    if device is None or str(device) == "cpu":
        return None
    if not _has_torch():
        if device != "auto":
            logger.warning("device %s needs PyTorch, which isn't installed; using the CPU", device)
        return None
    from riffusion.runtime.devices import select_device

    selected = select_device(device)
    return selected if selected.type == "cuda" else None


def operations_on(gpu: torch.device | None) -> Operations:
    """PyTorch's operations on a GPU, or NumPy's for None."""
    if gpu is None:
        return NumpyOperations()
    from riffusion.spectrogram.torch_operations import TorchOperations

    return TorchOperations(gpu)


def _has_torch() -> bool:
    try:
        import torch  # noqa: F401
    except ModuleNotFoundError:
        return False
    return True
