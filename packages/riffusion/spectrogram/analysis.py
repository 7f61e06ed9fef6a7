"""Waveform → mel amplitudes: torchaudio's `Spectrogram` and `MelScale`, several times as fast.

The mel bands end far below half the sample rate, but a full FFT also computes all bins above them.
Let x be the signal and w the window. A frame's spectrum is X(k) = Σ x(n) w(n) exp(-2πi kn / N). If
only every D-th product x(n) w(n) is summed, aliases are added to each bin:

    X'(k) = X(k) + X(k + N/D) + …        (times 1/D, which the scaled window compensates)

The bins up to K are exact if the aliases that fall on them are silent. So x first passes a lowpass
filter that is flat up to the highest band f and reaches its stopband at rate/D - f, the lowest
frequency whose alias would reach the bands. The FFT is then D times shorter. At the defaults D = 2.
Passband ripple and stopband level are -140 dB.

Each bin belongs to at most two mel bands, so the filterbank is a sparse matrix. Magnitudes are
computed only for the bins that belong to a band.
"""

import math

import numpy as np
import torch

from riffusion.spectrogram.filterbank import mel_filterbank, sparse_matrix
from riffusion.spectrogram.params import SpectrogramParams

_STOPBAND_DB = 140.0
_MAX_FACTOR = 8
_MIN_TRANSITION = 0.02
"""Smallest width of the lowpass filter's transition band, relative to the sample rate: 460 taps."""
_GUARD_LOBES = 4
"""Distance of the filter's edges from the highest band, in units of rate / window length. A Hann
window's main lobe extends 2 units to each side."""
_CONVOLUTION_SIZE = 4096
"""FFT length of one block of the lowpass filter; fits a processor's cache."""
_FRAMES_PER_FFT = 64
"""Frames transformed at once: 2 MB at the defaults, which fits a second-level cache."""


class MelAnalysis:
    """Computes the mel amplitudes of a signal's frames.

    Args:
        params: frames and mel bands.
        device: device of the matrices and of the computation.
    """

    def __init__(self, params: SpectrogramParams, device: torch.device) -> None:
        self._p = params
        weights = mel_filterbank(params)
        num_bins = 1 + int(weights.any(dim=1).nonzero().max()) if weights.any() else 1
        self._num_bins = num_bins
        self._bands_from_bins = sparse_matrix(weights[:num_bins].T, device)
        highest_hz = (num_bins - 1) * params.sample_rate / params.n_fft
        self._factor, lowpass = _decimation(params, highest_hz)
        self.margin = len(lowpass) // 2
        """Extra samples that the lowpass filter needs before and after the signal."""
        self._response = torch.fft.rfft(lowpass, _CONVOLUTION_SIZE).to(torch.complex64).to(device)
        window = torch.hann_window(params.win_length)[:: self._factor] * self._factor
        self._window = window.to(device)

    def __call__(self, signal: torch.Tensor) -> torch.Tensor:
        """Compute the mel amplitudes of all frames that fit into the signal.

        Args:
            signal: `(channels, margin + samples + margin)` float32, `samples` at least `n_fft`.

        Returns:
            `(channels, bands, 1 + (samples - n_fft) // hop)`; frame 0 starts at the first sample
            after the margin.
        """
        return torch.stack([self._one_channel(samples) for samples in self._lowpassed(signal)])

    def _one_channel(self, samples: torch.Tensor) -> torch.Tensor:
        """Mel amplitudes of one channel: `(samples,)` → `(bands, frames)`.

        By definition the window is centred in the FFT's length. Here the FFT starts where the
        window starts, which changes only phases.
        """
        p = self._p
        num_frames = 1 + (samples.shape[0] - p.n_fft) // p.hop_length
        start = (p.n_fft - p.win_length) // 2
        frames = samples[start:].unfold(0, p.win_length, p.hop_length)[:num_frames]
        frames = frames[:, :: self._factor]
        blocks = []
        for first in range(0, num_frames, _FRAMES_PER_FFT):
            block = frames[first : first + _FRAMES_PER_FFT] * self._window
            spectra = torch.fft.rfft(block, p.n_fft // self._factor)
            blocks.append(self._bands_from_bins @ _magnitudes(spectra[:, : self._num_bins]))
        return torch.cat(blocks, dim=1)

    def _lowpassed(self, signal: torch.Tensor) -> torch.Tensor:
        """Apply the lowpass filter and remove the margins, by the overlap-save method.

        `(channels, n + 2 · margin)` → `(channels, n)`. In the circular convolution of a block, all
        values except the first 2 · margin equal those of the linear convolution.
        """
        if self._factor == 1:
            return signal
        length = signal.shape[1] - 2 * self.margin
        step = _CONVOLUTION_SIZE - 2 * self.margin
        missing = -length % step
        blocks = torch.nn.functional.pad(signal, (0, missing)).unfold(1, _CONVOLUTION_SIZE, step)
        spectra = torch.fft.rfft(blocks) * self._response
        circular: torch.Tensor = torch.fft.irfft(spectra, _CONVOLUTION_SIZE)
        return circular[..., 2 * self.margin :].flatten(1)[:, :length]


def _magnitudes(spectra: torch.Tensor) -> torch.Tensor:
    """Absolute values: `(frames, bins)` → `(bins, frames)`, contiguous for the sparse product.

    On the CPU, NumPy computes them: its vectorised function is ten times as fast as PyTorch's.
    """
    if spectra.is_cpu and not spectra.requires_grad:
        magnitudes = torch.empty(spectra.shape[::-1])
        np.abs(spectra.numpy().T, out=magnitudes.numpy())
        return magnitudes
    return spectra.abs().T.contiguous()


def _decimation(params: SpectrogramParams, highest_hz: float) -> tuple[int, torch.Tensor]:
    """The largest usable decimation factor D, and its lowpass filter (taps,) of odd length.

    D is usable if it divides the FFT's length and its filter isn't longer than the FFT. Length and
    shape of the Kaiser window: J. F. Kaiser, "Nonrecursive digital filter design using
    the I0-sinh window function", ISCAS 1974.
    """
    rate = params.sample_rate
    passband_hz = highest_hz + _GUARD_LOBES * rate / params.win_length
    for factor in range(_MAX_FACTOR, 1, -1):
        transition = (rate / factor - 2 * passband_hz) / rate
        if params.n_fft % factor or transition < _MIN_TRANSITION:
            continue
        half = math.ceil((_STOPBAND_DB - 8) / (2.285 * 2 * math.pi * transition) / 2)
        if 2 * half > params.n_fft:  # the filter would cost more than the shorter FFT saves
            continue
        n = torch.arange(-half, half + 1, dtype=torch.float64)
        beta = 0.1102 * (_STOPBAND_DB - 8.7)
        shape = torch.kaiser_window(len(n), periodic=False, beta=beta, dtype=torch.float64)
        return factor, torch.sinc(n / factor) / factor * shape
    return 1, torch.ones(1, dtype=torch.float64)
