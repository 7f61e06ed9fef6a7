"""A band of frequencies of audio of any length: linear phase, part by part."""

from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt

from riffusion.audio.waveform import Waveform

Kernel = npt.NDArray[np.float64]
"""(taps,), an odd number."""

_HALF_S = 0.1
"""Half of a kernel's length: at 9 Hz from an edge the level is full, or has fallen by 60 dB."""
_KAISER_BETA = 5.65
"""For 60 dB (J. F. Kaiser, "Nonrecursive digital filter design using the I0-sinh window function",
ISCAS 1974)."""


def band_kernel(low_hz: float | None, high_hz: float | None, sample_rate: int) -> Kernel:
    """The filter that passes the frequencies between two edges.

    Args:
        low_hz, high_hz: the edges; None for no edge.
        sample_rate: in Hz.
    """
    from scipy.signal import firwin  # slow to import

    num_taps = 2 * round(_HALF_S * sample_rate) + 1
    edges = [edge for edge in (low_hz, high_hz) if edge and edge < sample_rate / 2]
    if not edges:
        return np.ones(1)
    passes_zero = not low_hz
    window = ("kaiser", _KAISER_BETA)
    kernel: Kernel = firwin(num_taps, edges, window=window, pass_zero=passes_zero, fs=sample_rate)
    return kernel


def filtered(parts: Iterable[Waveform], kernel: Kernel) -> Iterator[Waveform]:
    """Filter parts that follow each other, with silence before and after; nothing is delayed.

    Args:
        parts: (channels, samples) each.
        kernel: a symmetric filter.

    Yields:
        (channels, samples) each; all together as long as the parts, but cut at other places.
    """
    from scipy.signal import oaconvolve  # slow to import

    half, tail = len(kernel) // 2, None
    early = half
    for part in parts:
        if part.shape[1] == 0:
            continue
        found = oaconvolve(part, kernel[None], axes=-1)
        if tail is not None:
            found[:, : tail.shape[1]] += tail
        ready, tail = np.split(found, [part.shape[1]], axis=1)
        yield ready[:, early:].astype(np.float32)
        early = max(0, early - part.shape[1])
    if tail is not None:
        yield tail[:, early:half].astype(np.float32)
