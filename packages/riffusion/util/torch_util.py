"""For upstream's scripts: choosing a device, and blending noises (`diffusion.interpolation`)."""

import torch

from riffusion.devices import select_device
from riffusion.diffusion import interpolation


def check_device(device: str, backup: str = "cpu") -> str:
    """`device`, or `backup` with a warning where this machine lacks it.

    Raises:
        InputError: `device` is no device name.
    """
    name = device.lower()
    selected = select_device(name)
    return backup if selected.type == "cpu" and name not in ("auto", "cpu") else str(selected)


def slerp(
    t: float, v0: torch.Tensor, v1: torch.Tensor, dot_threshold: float = 0.9995
) -> torch.Tensor:
    """Great circle from `v0` (t = 0) to `v1` (t = 1), each taken as one long vector.

    Where the straight line takes over is fixed, so `dot_threshold` is accepted and unused.
    """
    del dot_threshold
    return interpolation.slerp(t, v0, v1)
