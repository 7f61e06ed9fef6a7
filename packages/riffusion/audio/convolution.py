"""Convolutions by FFT. Only SciPy's FFT is imported: `scipy.signal` takes seconds."""

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import scipy  # scipy.fft is imported at its first use
from numpy.lib.stride_tricks import sliding_window_view

Signal = npt.NDArray[np.floating]
"""(…, samples)."""

_MIN_BLOCK = 8192
"""Shortest FFT: 64 KB, which fits a processor's cache."""
_KERNELS_PER_BLOCK = 8


def convolved(signal: Signal, kernel: Signal) -> Signal:
    """Convolution along the last axis, where both overlap fully, by the overlap-save method.

    In the circular convolution of a block, all values except the first K - 1 equal those of the
    linear convolution. Equal to `scipy.signal.oaconvolve(…, mode="valid")` up to rounding.

    Args:
        signal: `(…, T)`, at least as long as the kernel.
        kernel: `(K,)`.

    Returns:
        `(…, T - K + 1)`.
    """
    (result,) = convolutions(signal, [kernel])
    return result


def convolutions(signal: Signal, kernels: Sequence[Signal]) -> Iterator[Signal]:
    """`convolved` with each of some kernels of one length; the signal is transformed once."""
    overlap = len(kernels[0]) - 1
    length = signal.shape[-1] - overlap
    whole = signal.shape[-1]
    size = min(max(_MIN_BLOCK, _KERNELS_PER_BLOCK * (overlap + 1)), whole)
    size = scipy.fft.next_fast_len(size, real=True)
    step = size - overlap
    missing = -length % step
    padded = np.pad(signal, [(0, 0)] * (signal.ndim - 1) + [(0, missing)])
    blocks = sliding_window_view(padded, size, axis=-1)[..., ::step, :]
    spectra = scipy.fft.rfft(blocks)
    for kernel in kernels:
        product = spectra * scipy.fft.rfft(kernel.astype(signal.dtype), size)
        circular = scipy.fft.irfft(product, size, overwrite_x=True)[..., overlap:]
        joined: Signal = circular.reshape(*signal.shape[:-1], -1)[..., :length]
        yield joined
