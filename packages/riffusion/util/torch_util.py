"""Upstream's names for choosing a device and for interpolating noise."""

from riffusion.diffusion.upstream import slerp
from riffusion.runtime.devices import check_device

__all__ = ["check_device", "slerp"]
