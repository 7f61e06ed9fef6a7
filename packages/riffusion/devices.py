"""Which torch device the work runs on."""

import logging

import torch

from riffusion.errors import InputError

logger = logging.getLogger(__name__)


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
