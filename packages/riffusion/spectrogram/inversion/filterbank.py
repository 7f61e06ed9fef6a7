"""The mel filterbank for a shorter FFT, and a non-negative inverse.

The weights are torchaudio's. `riffusion.spectrogram.filterbank` computes the same ones with less
rounding, but the phase reconstruction is sensitive: a difference in the last bit of a weight gives
another waveform of the same image, and equal images must keep giving equal audio.
"""

from __future__ import annotations

import warnings

import torch
import torchaudio

from riffusion.spectrogram.mel_frames import MelFrames

EPSILON = 1e-7
"""Keeps divisions finite. 140 dB below the loudest mel amplitude, which is scaled to 1."""


def torchaudios_filterbank(params: MelFrames) -> torch.Tensor:
    """The mel filterbank of torchaudio.

    Returns:
        Weights `(params.n_fft // 2 + 1, num_frequencies)`, float32. Bands that are above half the
        sample rate or narrower than a bin have no weights and stay silent.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # about bands without weights
        filterbank: torch.Tensor = torchaudio.functional.melscale_fbanks(
            n_freqs=params.n_fft // 2 + 1,
            f_min=float(params.min_frequency),
            f_max=float(params.max_frequency),
            n_mels=params.num_frequencies,
            sample_rate=params.sample_rate,
            norm=params.mel_scale_norm,
            mel_scale=params.mel_scale_type,
        )
    return filterbank


def sparse_matrix(matrix: torch.Tensor, device: torch.device) -> torch.Tensor:
    """`matrix` in compressed sparse rows (CSR); as it is on CUDA.

    On CUDA the sums of a sparse product have no fixed order, so equal images could give different
    audio. A dense product's order is fixed, and a GPU computes it in less than a millisecond.
    """
    if device.type == "cuda":
        return matrix.contiguous().to(device)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # "Sparse CSR tensor support is in beta state"
        return matrix.contiguous().to_sparse_csr().to(device)


class MelFilterbank:
    """Mel bands as weighted sums over the bins of a shorter FFT, and the inverse.

    A spectrogram's frames are heavily zero-padded: at the defaults the bins are 2.5 Hz apart, while
    a 100 ms Hann window has a main lobe 40 Hz wide. The magnitude is therefore smooth between the
    bins of a shorter FFT, and linear interpolation restores the magnitudes of the long FFT. Let U
    be the interpolation matrix and F the filterbank of the long FFT. Then

        mel = F · |long FFT| ≈ F · U · |short FFT| =: B · |short FFT|

    so one matrix B replaces F for the shorter FFT. The triangular bands overlap only their
    neighbours, so each bin belongs to a few bands and B is sparse.

    Mel amplitudes are `(bands, frames)` and magnitudes `(bins, frames)`: a sparse matrix times a
    dense one is fastest in this layout.

    Args:
        params: the mel bands.
        bin_hz: spacing of the bins, at least that of an FFT of `params.n_fft`.
        num_bins: number of bins, the first at 0 Hz.
        device: device of the matrices.
    """

    def __init__(
        self, params: MelFrames, bin_hz: float, num_bins: int, device: torch.device
    ) -> None:
        long_filterbank = torchaudios_filterbank(params)
        long_hz = torch.arange(long_filterbank.shape[0]) * (params.sample_rate / params.n_fft)
        position = (long_hz / bin_hz).clamp(max=num_bins - 1)
        below = position.floor().long().clamp(max=num_bins - 2)
        fraction = (position - below).unsqueeze(1)
        weights = torch.zeros(num_bins, params.num_frequencies)
        weights.index_add_(0, below, long_filterbank * (1 - fraction))
        weights.index_add_(0, below + 1, long_filterbank * fraction)

        weight_of_bin = weights.sum(1, keepdim=True).clamp(min=EPSILON)
        self._bands_from_bins = sparse_matrix(weights.T, device)
        self._mean_over_bands = sparse_matrix(weights / weight_of_bin, device)
        self._weight_of_band = weights.sum(0).unsqueeze(1).clamp(min=EPSILON).to(device)

    def mel_from_magnitudes(self, magnitudes: torch.Tensor) -> torch.Tensor:
        """Mel amplitudes of magnitudes, B · |short FFT|: `(bins, frames)` → `(bands, frames)`."""
        return self._bands_from_bins @ magnitudes

    def gains(self, magnitudes: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Gains per bin that bring the mel bands of `magnitudes` closer to `target`.

        The gain of a band is target / mel. The gain of a bin is the mean of its bands' gains,
        weighted by the filterbank. With A = |X| this is the multiplicative update that minimises
        the Kullback-Leibler divergence of B · A from the target (Lee and Seung, "Algorithms for
        non-negative matrix factorization", 2001, theorem 2, with W = B fixed). Positive magnitudes
        stay positive, and the divergence never rises.

        Args:
            magnitudes: `(bins, frames)`.
            target: mel amplitudes `(bands, frames)`, at most about 1.

        Returns:
            `(bins, frames)`.
        """
        mel = self.mel_from_magnitudes(magnitudes)
        return self._mean_over_bands @ torch.div(target, mel.add_(EPSILON))

    def magnitudes_from_mel(self, target: torch.Tensor, num_updates: int) -> torch.Tensor:
        """Non-negative magnitudes whose mel bands approximate `target`.

        Starts from the mean level of each bin's bands and applies `gains` `num_updates` times. The
        fine structure inside a band is lost; the result is a smooth estimate.

        Args:
            target: `(bands, frames)`, at most about 1.
            num_updates: more updates give sharper magnitudes.

        Returns:
            `(bins, frames)`.
        """
        magnitudes = self._mean_over_bands @ (target / self._weight_of_band)
        for _ in range(num_updates):
            magnitudes *= self.gains(magnitudes, target)
        return magnitudes
