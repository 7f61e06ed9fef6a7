"""Choosing the torch device, and how it computes.

PyTorch is imported when it is needed.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from riffusion.errors import InputError

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)


def select_device(name: str | torch.device | None = None) -> torch.device:
    """Select the device to compute on.

    Args:
        name: `cuda`, `cuda:1`, `mps`, `cpu` …; None or `auto` selects the best available device.
            If a CUDA or MPS device isn't available, the CPU is used with a warning, because
            scripts written for GPUs are also run on laptops.

    Raises:
        InputError: `name` isn't the name of a supported device.
    """
    import torch

    if name is None or name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except (RuntimeError, TypeError) as error:
        raise InputError(
            f"{name!r} is not a device; use cpu, cuda, cuda:N, mps or auto", "device"
        ) from error
    count = {
        "cpu": 1,
        "cuda": torch.cuda.device_count(),
        "mps": int(torch.backends.mps.is_available()),
    }
    if device.type not in count:
        raise InputError(f"{name!r} is not supported; use cpu, cuda, cuda:N, mps or auto", "device")
    if (device.index or 0) >= count[device.type]:
        logger.warning("device %s is not available on this machine; using the CPU", device)
        return torch.device("cpu")
    return device


def check_device(device: str, backup: str = "cpu") -> str:
    """Name of `device`, or `backup` with a warning if this machine lacks it (upstream's API).

    Raises:
        InputError: `device` isn't the name of a supported device.
    """
    name = device.lower()
    selected = select_device(name)
    return backup if selected.type == "cpu" and name not in ("auto", "cpu") else str(selected)


def seeded_generator(device: torch.device, seed: int) -> torch.Generator:
    """A new generator on a CUDA device, or else on the CPU.

    Generators of different kinds of devices give different numbers for the same seed.
    """
    import torch

    place = device if device.type == "cuda" else "cpu"
    return torch.Generator(place).manual_seed(seed)


def copied_to(device: torch.device, tensor: torch.Tensor) -> torch.Tensor:
    """Copy a tensor to a device; the CPU doesn't wait for a GPU to be done with it.

    A copy from pinned memory is queued behind the GPU's other work. Any other copy makes the CPU
    wait until that work is done.
    """
    if device.type != "cuda" or tensor.is_cuda:
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


@contextmanager
def fast_single_precision(device: torch.device) -> Iterator[None]:
    """Compute single-precision matrix products as TF32 on CUDA, within the block.

    TF32 rounds the factors to 10 bits and sums in single precision, several times as fast. PyTorch
    does so for convolutions by default, but not for matrix products. It is good enough to train,
    which often uses bfloat16, with 7 bits. It is not used for inference.
    """
    import torch

    before = torch.get_float32_matmul_precision()
    if device.type == "cuda":
        torch.set_float32_matmul_precision("high")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
