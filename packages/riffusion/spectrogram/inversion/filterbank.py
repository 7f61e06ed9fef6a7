"""The mel filterbank for a shorter FFT, and a non-negative inverse."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from riffusion.spectrogram.filterbank import band_groups
from riffusion.spectrogram.mel_frames import MelFrames
from riffusion.spectrogram.operations import Array, Operations

EPSILON = 1e-7
"""Keeps divisions finite. 140 dB below the loudest mel amplitude, which is scaled to 1."""

_BANDS_PER_GROUP = 32

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
    is therefore applied as some small matrices, each for neighbouring bands.

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
        weights = interpolated_weights(params, bin_hz, num_bins)
        weight_of_bin = weights.sum(1, keepdims=True).clip(min=EPSILON)
        self._bands_from_bins = self._products(weights)
        self._mean_over_bands = self._products((weights / weight_of_bin).T)
        self._weight_of_band = operations.constant(weights.sum(0).clip(min=EPSILON))

    def _products(self, matrix: Floats) -> list[_Product]:
        """Parts of a product with a sparse matrix (inputs, outputs), whose columns are in order.

        Each part has as many columns as fit into `weights_per_product`, and at least one.
        """
        has_weights = matrix != 0
        first = np.where(has_weights.any(0), has_weights.argmax(0), len(matrix))
        end = np.where(has_weights.any(0), len(matrix) - has_weights[::-1].argmax(0), 0)
        products, start = [], 0
        while start < matrix.shape[1]:
            lowest = np.minimum.accumulate(first[start:])
            heights = (np.maximum.accumulate(end[start:]) - lowest).clip(min=0)
            sizes = heights * np.arange(1, len(heights) + 1)
            width = max(1, int(np.searchsorted(sizes, self._do.weights_per_product, "right")))
            low = int(min(lowest[width - 1], len(matrix)))
            inputs = slice(low, low + int(heights[width - 1]))
            part = np.ascontiguousarray(matrix[inputs, start : start + width])
            products.append(_Product(inputs, self._do.constant(part)))
            start += width
        return products

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


def interpolated_weights(params: MelFrames, bin_hz: float, num_bins: int) -> Floats:
    """F · U: weights of the bins of the short FFT, (num_bins, bands)."""
    weights = np.zeros((num_bins, params.num_frequencies), np.float32)
    for index, group in enumerate(band_groups(params, _BANDS_PER_GROUP)):
        bands = slice(index * _BANDS_PER_GROUP, (index + 1) * _BANDS_PER_GROUP)
        long_bins = np.arange(group.bins.start, group.bins.stop)
        position = long_bins * (params.sample_rate / params.n_fft / bin_hz)
        below = np.floor(position).astype(int).clip(max=num_bins - 2)
        fraction = (position.clip(max=num_bins - 1) - below).astype(np.float32)[:, None]
        np.add.at(weights[:, bands], below, group.weights * (1 - fraction))
        np.add.at(weights[:, bands], below + 1, group.weights * fraction)
    return weights
