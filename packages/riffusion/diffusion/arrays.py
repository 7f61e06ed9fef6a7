"""Arrays of NumPy or PyTorch: what the two name differently, and the way between them.

Everything that jobs compute beside the networks is written once, over the array API that both
have (`array_namespace`). What is drawn or read on the host, noise, masks and images, is NumPy's
until it meets a network's array. Nothing here imports PyTorch unless a tensor is passed in.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import numpy.typing as npt
from array_api_compat import array_namespace, device, is_torch_array

Array = Any
"""A NumPy array or a PyTorch tensor."""

__all__ = [
    "Array",
    "array_namespace",
    "as_numpy",
    "copied_like",
    "device",
    "lerp_arrays",
    "without_gradients",
]


def copied_like(array: Array, like: Array) -> Array:
    """An array in the library and on the device of another, with its own type of numbers.

    The CPU doesn't wait for a GPU.
    """
    if is_torch_array(like):
        import torch

        from riffusion.runtime.devices import copied_to

        tensor = torch.from_numpy(array) if isinstance(array, np.ndarray) else array
        return copied_to(like.device, tensor)
    return as_numpy(array)


def as_numpy(array: Array) -> npt.NDArray[Any]:
    """An array in NumPy."""
    if is_torch_array(array):
        numbers: npt.NDArray[Any] = array.detach().cpu().numpy()
        return numbers
    return np.asarray(array)


def lerp_arrays(start: Array, end: Array, share: float) -> Array:
    """Linear interpolation from `start` (share 0) to `end` (share 1), exact at both."""
    xp = array_namespace(start)
    first, last = (xp.astype(array, xp.float32, copy=False) for array in (start, end))
    change = last - first
    between = first + share * change if share < 0.5 else last - (1 - share) * change
    return xp.astype(between, start.dtype, copy=False)


def without_gradients(array: Array) -> AbstractContextManager[Any]:
    """Context in which PyTorch records nothing for gradients, if the array is PyTorch's."""
    if not is_torch_array(array):
        return nullcontext()
    import torch

    return torch.inference_mode()
