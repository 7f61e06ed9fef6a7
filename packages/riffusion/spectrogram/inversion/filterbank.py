"""The mel filterbank for a shorter FFT, and a non-negative inverse."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from riffusion.spectrogram.filterbank import BandGroup, band_groups
from riffusion.spectrogram.mel_frames import MelFrames
from riffusion.spectrogram.operations import Array, Operations

EPSILON = 1e-7
"""Keeps divisions finite. 140 dB below the loudest mel amplitude, which is scaled to 1."""

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class _Product:
    """Part of a product with a sparse matrix: some columns of the result, from some inputs.

    Args:
        inputs: the columns of the factor that have weights here.
        weights: (inputs, outputs).
    """

    inputs: slice
    weights: Array


class MelFilterbank:
    """Mel bands as weighted sums over the bins of a shorter FFT, and the inverse.

    A spectrogram's frames are heavily zero-padded: at the defaults the bins are 2.5 Hz apart, while
    a 100 ms Hann window has a main lobe 40 Hz wide. The magnitude is therefore smooth between the
    bins of a shorter FFT, and linear interpolation restores the magnitudes of the long FFT. Let U
    be the interpolation matrix and F the filterbank of the long FFT. Then

        mel = F · |long FFT| ≈ F · U · |short FFT| =: B · |short FFT|

    so one matrix B replaces F for the shorter FFT. The triangular bands overlap only their
    neighbours, so each bin belongs to a few bands, and neighbouring bands to neighbouring bins. B
    is therefore applied as one small matrix per group of bands.

    Mel amplitudes are `(..., bands)` and magnitudes `(..., bins)`.

    Args:
        params: the mel bands.
        bin_hz: spacing of the bins, at least that of an FFT of `params.n_fft`.
        num_bins: number of bins, the first at 0 Hz.
        operations: those of the arrays.
    """

    def __init__(
        self, params: MelFrames, bin_hz: float, num_bins: int, operations: Operations
    ) -> None:
        self._do = operations
        num_bands = params.num_frequencies
        per_group = min(num_bands, operations.bands_per_group)
        short_groups = [
            _interpolated(group, params.sample_rate / params.n_fft / bin_hz, num_bins)
            for group in band_groups(params, per_group)
        ]
        self._bands_from_bins = [self._product(group) for group in short_groups]
        weights = np.zeros((num_bins, num_bands), np.float32)
        for index, group in enumerate(short_groups):
            bands = slice(index * per_group, index * per_group + group.weights.shape[1])
            weights[group.bins, bands] = group.weights

        weight_of_bin = weights.sum(1, keepdims=True).clip(min=EPSILON)
        mean_over_bands = (weights / weight_of_bin).T
        num_groups = len(short_groups)
        edges = [num_bins * index // num_groups for index in range(num_groups + 1)]
        self._mean_over_bands = [
            self._product(_nonzero(mean_over_bands[:, first:end]))
            for first, end in itertools.pairwise(edges)
        ]
        self._weight_of_band = operations.constant(weights.sum(0).clip(min=EPSILON))

    def _product(self, group: BandGroup) -> _Product:
        return _Product(group.bins, self._do.constant(group.weights))

    def _multiplied(self, values: Array, products: list[_Product]) -> Array:
        return self._do.products_joined(
            [(values[..., product.inputs], product.weights) for product in products]
        )

    def mel_from_magnitudes(self, magnitudes: Array) -> Array:
        """Mel amplitudes of magnitudes, B · |short FFT|: `(..., bins)` → `(..., bands)`."""
        return self._multiplied(magnitudes, self._bands_from_bins)

    def gains(self, magnitudes: Array, target: Array) -> Array:
        """Gains per bin that bring the mel bands of `magnitudes` closer to `target`.

        The gain of a band is target / mel. The gain of a bin is the mean of its bands' gains,
        weighted by the filterbank. With A = |X| this is the multiplicative update that minimises
        the Kullback-Leibler divergence of B · A from the target (Lee and Seung, "Algorithms for
        non-negative matrix factorization", 2001, theorem 2, with W = B fixed). Positive magnitudes
        stay positive, and the divergence never rises.

        Args:
            magnitudes: `(..., bins)`.
            target: mel amplitudes `(..., bands)`, at most about 1.

        Returns:
            `(..., bins)`.
        """
        mel = self.mel_from_magnitudes(magnitudes)
        mel += EPSILON
        return self._multiplied(target / mel, self._mean_over_bands)

    def magnitudes_from_mel(self, target: Array, num_updates: int) -> Array:
        """Non-negative magnitudes whose mel bands approximate `target`.

        Starts from the mean level of each bin's bands and applies `gains` `num_updates` times. The
        fine structure inside a band is lost; the result is a smooth estimate.

        Args:
            target: `(..., bands)`, at most about 1.
            num_updates: more updates give sharper magnitudes.

        Returns:
            `(..., bins)`.
        """
        magnitudes = self._multiplied(target / self._weight_of_band, self._mean_over_bands)
        for _ in range(num_updates):
            magnitudes *= self.gains(magnitudes, target)
        return magnitudes


def _interpolated(group: BandGroup, bins_per_bin: float, num_bins: int) -> BandGroup:
    """F · U of some bands: weights on the bins of the short FFT.

    Args:
        group: weights on the bins of the long FFT.
        bins_per_bin: short bins per long bin, at most 1.
        num_bins: number of short bins, at least 2.
    """
    long_bins = np.arange(group.bins.start, group.bins.stop)
    if not long_bins.size:
        return BandGroup(slice(0, 0), np.zeros((0, group.weights.shape[1]), np.float32))
    position = (long_bins * bins_per_bin).clip(max=num_bins - 1)
    below = np.floor(position).astype(int).clip(max=num_bins - 2)
    fraction = (position - below).astype(np.float32)[:, None]
    first = int(below[0])
    weights = np.zeros((int(below[-1]) + 2 - first, group.weights.shape[1]), np.float32)
    np.add.at(weights, below - first, group.weights * (1 - fraction))
    np.add.at(weights, below - first + 1, group.weights * fraction)
    return BandGroup(slice(first, first + len(weights)), weights)


def _nonzero(weights: Floats) -> BandGroup:
    """The rows of a matrix from its first to its last one with weights."""
    rows = np.flatnonzero(weights.any(1))
    chosen = slice(int(rows[0]), int(rows[-1]) + 1) if rows.size else slice(0, 0)
    return BandGroup(chosen, np.ascontiguousarray(weights[chosen]))
