"""Which torch device the work runs on."""

import ctypes
import logging
import sys

import torch

from riffusion.errors import InputError

logger = logging.getLogger(__name__)

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
"""Of `mallopt`, in glibc's malloc.h."""
_LARGEST_KEPT_BLOCK = 2**30
"""Bytes. More than a tensor of the VAE at the usual sizes takes."""


def select_device(name: str | torch.device | None = None) -> torch.device:
    """The device to use.

    Args:
        name: `cuda`, `cuda:1`, `mps`, `cpu` …, or None for the best one that is there. A CUDA or
            MPS device that isn't there falls back to the CPU with a warning, since scripts
            written for GPUs are run on laptops.

    Raises:
        InputError: `name` is no device name.
    """
    if name is None or name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except (RuntimeError, TypeError) as error:
        raise InputError(
            f"{name!r} is no device; use cpu, cuda, cuda:N, mps or auto", "device"
        ) from error
    count = {
        "cpu": 1,
        "cuda": torch.cuda.device_count(),
        "mps": int(torch.backends.mps.is_available()),
    }
    if device.type not in count:
        raise InputError(f"{name!r} is not supported; use cpu, cuda, cuda:N, mps or auto", "device")
    if (device.index or 0) >= count[device.type]:
        logger.warning("device %s is not available here; using the CPU", device)
        return torch.device("cpu")
    return device


def check_device(device: str, backup: str = "cpu") -> str:
    """Name of `device`, or `backup` with a warning where this machine lacks it (upstream's API).

    Raises:
        InputError: `device` is no device name.
    """
    name = device.lower()
    selected = select_device(name)
    return backup if selected.type == "cpu" and name not in ("auto", "cpu") else str(selected)


def keep_freed_memory() -> None:
    """Let this process keep the memory of freed tensors for the next ones, on Linux with glibc.

    Blocks over 32 MiB otherwise go back to the system with every tensor and come again page by
    page, which costs up to a third of the time of large convolutions on a CPU.
    """
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
        if mallopt is not None:
            mallopt(_M_MMAP_THRESHOLD, _LARGEST_KEPT_BLOCK)
            mallopt(_M_TRIM_THRESHOLD, _LARGEST_KEPT_BLOCK)
