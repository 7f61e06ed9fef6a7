"""What the analysis needs of NumPy or PyTorch and the two name differently.

`MelAnalysis` is written once, with these operations and with what arrays and tensors have in
common: slices, arithmetic and `@`. PyTorch's are in `torch_operations`, so that nothing here
imports it.
"""

from typing import Any, Protocol

import numpy as np
import scipy  # scipy.fft is imported at its first use
from numpy.lib.stride_tricks import sliding_window_view

Array = Any
"""A NumPy array or a PyTorch tensor."""


class Operations(Protocol):
    """The operations; `...` stands for any leading dimensions."""

    def constant(self, array: np.ndarray[Any, Any]) -> Array:
        """A NumPy array of constants, where the computation needs it."""

    def zeros_appended(self, signal: Array, count: int) -> Array:
        """(..., T) → (..., T + count)."""

    def reflected(self, signal: Array, width: int) -> Array:
        """(..., T) → (..., width + T + width), mirrored at the first and at the last value."""

    def windows(self, signal: Array, length: int, step: int) -> Array:
        """(..., T) → (..., 1 + (T - length) // step, length), a view."""

    def rfft(self, signal: Array, size: int) -> Array:
        """(..., T) → (..., size // 2 + 1) complex, T at most `size`."""

    def irfft(self, spectrum: Array, size: int) -> Array:
        """(..., size // 2 + 1) complex → (..., size)."""

    def joined(self, parts: list[Array], axis: int) -> Array:
        """The parts one after the other along an axis."""


class NumpyOperations:
    """The operations of NumPy and SciPy.

    SciPy's FFT of many rows takes less than half the time of NumPy's, which doesn't use vector
    instructions.
    """

    def constant(self, array: Array) -> Array:
        return array

    def zeros_appended(self, signal: Array, count: int) -> Array:
        return np.pad(signal, [(0, 0)] * (signal.ndim - 1) + [(0, count)])

    def reflected(self, signal: Array, width: int) -> Array:
        return np.pad(signal, [(0, 0)] * (signal.ndim - 1) + [(width, width)], mode="reflect")

    def windows(self, signal: Array, length: int, step: int) -> Array:
        return sliding_window_view(signal, length, axis=-1)[..., ::step, :]

    def rfft(self, signal: Array, size: int) -> Array:
        return scipy.fft.rfft(signal, size)

    def irfft(self, spectrum: Array, size: int) -> Array:
        return scipy.fft.irfft(spectrum, size)

    def joined(self, parts: list[Array], axis: int) -> Array:
        return np.concatenate(parts, axis=axis)
