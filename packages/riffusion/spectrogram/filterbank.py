"""The mel filterbank on the bins of a coarser FFT, and its non-negative inverse."""

from __future__ import annotations

import warnings

import torch
import torchaudio

from riffusion.spectrogram.params import SpectrogramParams

EPSILON = 1e-7
"""Keeps divisions finite, relative to a loudest mel amplitude of 1: 140 dB below it."""


class MelFilterbank:
    """Mel bands as weighted sums over bins that are `bin_hz` apart, and what undoes them.

    The spectrogram sums the magnitudes of an FFT with heavily padded frames: at the defaults its
    bins are 2.5 Hz apart, while a 100 ms Hann window has a main lobe 40 Hz wide. Between the bins
    of a shorter FFT the magnitude is therefore smooth, and linear interpolation restores the long
    one's. Let U be the matrix that interpolates and F the filterbank over the long FFT. Then

        mel = F · |long FFT| ≈ F · U · |short FFT| =: B · |short FFT|

    so one matrix B takes the place of F, though the FFT is shorter. Triangles overlap only their
    neighbours, so each bin belongs to a few bands: B is kept sparse.

    Here frames are columns: mel amplitudes are `(bands, frames)` and magnitudes `(bins, frames)`,
    the layout that a sparse product from the left is fastest in.

    Args:
        params: define the bands.
        bin_hz: spacing of the bins, not smaller than that of `params.n_fft`.
        num_bins: bins from 0 Hz up.
        device: where the matrices live.
    """

    def __init__(
        self, params: SpectrogramParams, bin_hz: float, num_bins: int, device: torch.device
    ) -> None:
        long_filterbank = _long_filterbank(params)
        long_hz = torch.arange(long_filterbank.shape[0]) * (params.sample_rate / params.n_fft)
        position = (long_hz / bin_hz).clamp(max=num_bins - 1)
        below = position.floor().long().clamp(max=num_bins - 2)
        fraction = (position - below).unsqueeze(1)
        weights = torch.zeros(num_bins, params.num_frequencies)
        weights.index_add_(0, below, long_filterbank * (1 - fraction))
        weights.index_add_(0, below + 1, long_filterbank * fraction)

        weight_of_bin = weights.sum(1, keepdim=True).clamp(min=EPSILON)
        self._bands_from_bins = _sparse(weights.T, device)
        self._mean_over_bands = _sparse(weights / weight_of_bin, device)
        self._weight_of_band = weights.sum(0).unsqueeze(1).clamp(min=EPSILON).to(device)

    def mel_from_magnitudes(self, magnitudes: torch.Tensor) -> torch.Tensor:
        """B · |short FFT|: `(bins, frames)` → `(bands, frames)`."""
        return self._bands_from_bins @ magnitudes

    def gains(self, magnitudes: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Gains for the bins of `magnitudes` that bring its mel bands towards `target`.

        Each band asks for the gain target / mel; each bin takes the mean of what its bands ask
        for, weighted as they weigh the bin. With A = |X| this is the multiplicative update that
        minimises the Kullback-Leibler divergence of B · A from the target (Lee and Seung,
        "Algorithms for non-negative matrix factorization", 2001, theorem 2, with W = B fixed):
        it keeps what is positive positive, and the divergence never rises.

        Args:
            magnitudes: `(bins, frames)`.
            target: mel amplitudes `(bands, frames)`, the loudest about 1.

        Returns:
            `(bins, frames)`.
        """
        mel = self.mel_from_magnitudes(magnitudes)
        return self._mean_over_bands @ torch.div(target, mel.add_(EPSILON))

    def magnitudes_from_mel(self, target: torch.Tensor, num_updates: int) -> torch.Tensor:
        """Non-negative magnitudes whose mel bands approach `target`.

        Starts from the mean level of each bin's bands and applies `num_updates` of `gains`. What
        a band sums up is lost: the fine structure inside it is a smooth guess.

        Args:
            target: `(bands, frames)`, the loudest about 1.
            num_updates: the more, the sharper.

        Returns:
            `(bins, frames)`.
        """
        magnitudes = self._mean_over_bands @ (target / self._weight_of_band)
        for _ in range(num_updates):
            magnitudes *= self.gains(magnitudes, target)
        return magnitudes


def _long_filterbank(params: SpectrogramParams) -> torch.Tensor:
    """F, as `(params.n_fft // 2 + 1, num_frequencies)`."""
    with warnings.catch_warnings():
        # Bands above half the sample rate, or narrower than a bin, hold no bin; that is meant.
        warnings.simplefilter("ignore", UserWarning)
        filterbank: torch.Tensor = torchaudio.functional.melscale_fbanks(
            params.n_fft // 2 + 1,
            float(params.min_frequency),
            float(params.max_frequency),
            params.num_frequencies,
            params.sample_rate,
            params.mel_scale_norm,
            params.mel_scale_type,
        )
    return filterbank


def _sparse(matrix: torch.Tensor, device: torch.device) -> torch.Tensor:
    """`matrix` in compressed rows."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # "Sparse CSR tensor support is in beta state"
        return matrix.contiguous().to_sparse_csr().to(device)
