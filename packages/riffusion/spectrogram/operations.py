"""What NumPy and PyTorch name differently, for computations that are written once for both.

`MelAnalysis` and `inversion` use these operations, what arrays and tensors have in common (slices,
arithmetic, `@`), and `functions` that both modules have by the same name. PyTorch's operations are
in `torch_operations`, so that nothing here imports it.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from types import ModuleType
from typing import Any, Protocol

import numpy as np
import scipy  # scipy.fft is imported at its first use
from numpy.lib.stride_tricks import sliding_window_view

from riffusion.runtime.shared_work import share

Array = Any
"""A NumPy array or a PyTorch tensor."""

Block = tuple[slice, slice]
"""Some clips, and some rows of each."""

_ROWS_PER_BLOCK = 96
"""Largest number of rows of a block. With shorter blocks, threads wait longer for each other: for
every call of NumPy, a thread holds the interpreter's lock."""

_LARGEST_PRODUCT = 2**18
"""Multiplications of a matrix product up to which OpenBLAS starts no threads of its own. With much
smaller products, threads wait for the interpreter's lock."""


class Operations(Protocol):
    """The operations; `...` stands for any leading dimensions.

    Attributes:
        functions: the module of arrays, for functions that have the same name in both.
        weights_per_product: largest matrix by which a filterbank is applied in parts.
        frames_at_once: frames that are inverted together.
    """

    functions: ModuleType
    weights_per_product: int
    frames_at_once: int

    def constant(self, array: np.ndarray[Any, Any]) -> Array:
        """A NumPy array of constants, where the computation needs it."""

    def floats(self, values: Array) -> Array:
        """An array or a tensor of any floating-point type as float32, where it is needed."""

    def as_given(self, result: Array, given: Array) -> Array:
        """A result as a NumPy array if `given` is one, else as a tensor."""

    def zeros(self, *shape: int) -> Array:
        """Zeros, float32."""

    def numbers(self, count: int) -> Array:
        """0 to count - 1, integers."""

    def zeros_appended(self, signal: Array, count: int) -> Array:
        """(..., T) → (..., T + count)."""

    def reflected(self, signal: Array, width: int) -> Array:
        """(..., T) → (..., width + T + width), mirrored at the first and at the last value."""

    def reversed(self, signal: Array) -> Array:
        """(..., T) → (..., T), the last value first."""

    def windows(self, signal: Array, length: int, step: int) -> Array:
        """(..., T) → (..., 1 + (T - length) // step, length), a view."""

    def rfft(self, signal: Array, size: int) -> Array:
        """(..., T) → (..., size // 2 + 1) complex, T at most `size`."""

    def irfft(self, spectrum: Array, size: int) -> Array:
        """(..., size // 2 + 1) complex → (..., size). The spectrum may be overwritten."""

    def polar(self, magnitudes: Array, phases: Array) -> Array:
        """Complex numbers of magnitudes and phases in radians."""

    def joined(self, parts: list[Array], axis: int) -> Array:
        """The parts one after the other along an axis."""

    def products_joined(self, products: list[tuple[Array, Array]]) -> Array:
        """All (..., a) @ (a, b), one after the other along the last axis."""

    def where_true(self, condition: Array) -> tuple[Array, ...]:
        """Indices of the true elements, one array per dimension, in ascending order."""

    def repeated(self, counts: Array, size: int) -> Array:
        """Index n, counts[n] times, for all n; `size` is the sum of the counts."""

    def without_gradients(self) -> AbstractContextManager[Any]:
        """Context in which no gradients are prepared."""

    def in_blocks(self, compute: Callable[[Block], None], num_clips: int, num_rows: int) -> None:
        """Call `compute` with blocks that cover all rows of all clips, maybe in threads.

        Both slices of a block have a start and a stop.
        """


class NumpyOperations:
    """The operations of NumPy and SciPy.

    SciPy's FFT of many rows takes less than half the time of NumPy's, which doesn't use vector
    instructions. Blocks are computed by as many threads as the process has processors; NumPy and
    SciPy let other threads run meanwhile. The division into blocks doesn't depend on the number of
    threads, so results don't either.
    """

    functions: ModuleType = np
    weights_per_product = _LARGEST_PRODUCT // _ROWS_PER_BLOCK
    frames_at_once = 512

    def constant(self, array: Array) -> Array:
        return array

    def floats(self, values: Array) -> Array:
        array = values if isinstance(values, np.ndarray) else values.detach().cpu().numpy()
        with np.errstate(over="ignore"):  # too large a value becomes infinite
            return np.ascontiguousarray(array, np.float32)

    def as_given(self, result: Array, given: Array) -> Array:
        if isinstance(given, np.ndarray):
            return result
        import torch  # who gives a tensor has imported it

        return torch.from_numpy(result)

    def zeros(self, *shape: int) -> Array:
        return np.zeros(shape, np.float32)

    def numbers(self, count: int) -> Array:
        return np.arange(count)

    def zeros_appended(self, signal: Array, count: int) -> Array:
        return np.pad(signal, [(0, 0)] * (signal.ndim - 1) + [(0, count)])

    def reflected(self, signal: Array, width: int) -> Array:
        return np.pad(signal, [(0, 0)] * (signal.ndim - 1) + [(width, width)], mode="reflect")

    def reversed(self, signal: Array) -> Array:
        return signal[..., ::-1]

    def windows(self, signal: Array, length: int, step: int) -> Array:
        return sliding_window_view(signal, length, axis=-1)[..., ::step, :]

    def rfft(self, signal: Array, size: int) -> Array:
        return scipy.fft.rfft(signal, size)

    def irfft(self, spectrum: Array, size: int) -> Array:
        return scipy.fft.irfft(spectrum, size, overwrite_x=True)

    def polar(self, magnitudes: Array, phases: Array) -> Array:
        numbers = np.empty(phases.shape, np.complex64)
        np.multiply(magnitudes, np.cos(phases), out=numbers.real)
        np.multiply(magnitudes, np.sin(phases), out=numbers.imag)
        return numbers

    def joined(self, parts: list[Array], axis: int) -> Array:
        return np.concatenate(parts, axis=axis)

    def products_joined(self, products: list[tuple[Array, Array]]) -> Array:
        widths = [weights.shape[1] for _, weights in products]
        result = np.empty((*products[0][0].shape[:-1], sum(widths)), np.float32)
        end = 0
        for (values, weights), width in zip(products, widths, strict=True):
            end += width
            np.matmul(values, weights, out=result[..., end - width : end])
        return result

    def where_true(self, condition: Array) -> tuple[Array, ...]:
        return np.nonzero(condition)

    def repeated(self, counts: Array, size: int) -> Array:
        return np.repeat(np.arange(len(counts)), counts)

    def without_gradients(self) -> AbstractContextManager[Any]:
        return nullcontext()

    def in_blocks(self, compute: Callable[[Block], None], num_clips: int, num_rows: int) -> None:
        # An even number of equal blocks, so that two threads finish at the same time.
        length = -(-num_rows // (2 * -(-num_rows // (2 * _ROWS_PER_BLOCK))))
        share(
            partial(compute, (slice(clip, clip + 1), slice(first, min(first + length, num_rows))))
            for clip in range(num_clips)
            for first in range(0, num_rows, length)
        )
