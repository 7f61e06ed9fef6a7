"""Waveform → mel amplitudes: torchaudio's `Spectrogram` and `MelScale`, several times as fast.

The bands of interest end far below half the sample rate, while the FFT spends its time up to there.
Let x be the signal and w the window. A frame's spectrum X(k) = Σ x(n) w(n) exp(-2πi kn / N) loses
nothing up to bin K if only every D-th product x(n) w(n) is summed, as long as what then folds back,

    X'(k) = X(k) + X(k + N/D) + …        (times 1/D, which the window makes up for)

is silent. So x first passes a lowpass that is flat up to the highest band f and has stopped at
rate/D - f, where folding would reach the bands, and the FFT is D times shorter. At the defaults
D = 2; the passband's ripple and what is left in the stopband are 140 dB down.

Then each bin counts in at most two mel bands, so the filterbank is a sparse matrix, and of the
bins above the bands not even the magnitude is taken.
"""

import math
import warnings

import numpy as np
import torch
import torchaudio

from riffusion.spectrogram.params import SpectrogramParams

_STOPBAND_DB = 140.0
_MAX_FACTOR = 8
_MIN_TRANSITION = 0.02
"""Least width of the lowpass's transition, as a share of the sample rate: 460 taps."""
_GUARD_LOBES = 4
"""Distance of the lowpass's edges from the highest band, in widths of rate / window. A Hann
window's main lobe reaches 2."""
_CONVOLUTION_SIZE = 4096
"""FFT of one block of the lowpass; fits a processor's cache."""
_FRAMES_PER_FFT = 64
"""Frames transformed at once: 2 MB at the defaults, what a second-level cache holds."""


class MelAnalysis:
    """Mel amplitudes of a signal's frames.

    Args:
        params: define frames and bands.
        device: where the matrices live, and the work is done.
    """

    def __init__(self, params: SpectrogramParams, device: torch.device) -> None:
        self._p = params
        weights = _filterbank(params)
        num_bins = 1 + int(weights.any(dim=1).nonzero().max()) if weights.any() else 1
        self._num_bins = num_bins
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # "Sparse CSR … is in beta state"
            self._bands_from_bins = weights[:num_bins].T.contiguous().to_sparse_csr().to(device)
        highest_hz = (num_bins - 1) * params.sample_rate / params.n_fft
        self._factor, lowpass = _decimation(params, highest_hz)
        self.margin = len(lowpass) // 2
        """Samples that the lowpass looks back and ahead."""
        self._response = torch.fft.rfft(lowpass, _CONVOLUTION_SIZE).to(torch.complex64).to(device)
        window = torch.hann_window(params.win_length)[:: self._factor] * self._factor
        self._window = window.to(device)

    def __call__(self, signal: torch.Tensor) -> torch.Tensor:
        """Mel amplitudes of all frames that fit into the signal.

        Args:
            signal: `(channels, margin + samples + margin)` float32, `samples` at least `n_fft`.

        Returns:
            `(channels, bands, 1 + (samples - n_fft) // hop)`, not centred.
        """
        return torch.stack([self._one_channel(samples) for samples in self._lowpassed(signal)])

    def _one_channel(self, samples: torch.Tensor) -> torch.Tensor:
        """`(samples,)` → `(bands, frames)`.

        The window stands in the middle of the FFT's length; here the FFT begins where the window
        does, which only turns phases.
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
        """Convolve and drop the margins, by overlap-save: `(channels, n + 2 · margin)` → `(…, n)`.

        Of a circular convolution of a block, all but the first 2 · margin values are those of the
        linear one.
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
    """Absolute values `(frames, bins)` → `(bins, frames)`, contiguous, as a sparse product wants.

    On the CPU they are NumPy's, whose vectorised function is ten times as fast.
    """
    if spectra.is_cpu and not spectra.requires_grad:
        magnitudes = torch.empty(spectra.shape[::-1])
        np.abs(spectra.numpy().T, out=magnitudes.numpy())
        return magnitudes
    return spectra.abs().T.contiguous()


def _decimation(params: SpectrogramParams, highest_hz: float) -> tuple[int, torch.Tensor]:
    """The largest D whose lowpass is short enough, and the lowpass (taps,), of odd length.

    Length and shape of the Kaiser window: J. F. Kaiser, "Nonrecursive digital filter design using
    the I0-sinh window function", ISCAS 1974.
    """
    rate = params.sample_rate
    passband_hz = highest_hz + _GUARD_LOBES * rate / params.win_length
    for factor in range(_MAX_FACTOR, 1, -1):
        transition = (rate / factor - 2 * passband_hz) / rate
        if params.n_fft % factor or transition < _MIN_TRANSITION:
            continue
        half = math.ceil((_STOPBAND_DB - 8) / (2.285 * 2 * math.pi * transition) / 2)
        if 2 * half > params.n_fft:  # longer than it saves
            continue
        n = torch.arange(-half, half + 1, dtype=torch.float64)
        beta = 0.1102 * (_STOPBAND_DB - 8.7)
        shape = torch.kaiser_window(len(n), periodic=False, beta=beta, dtype=torch.float64)
        return factor, torch.sinc(n / factor) / factor * shape
    return 1, torch.ones(1, dtype=torch.float64)


def _filterbank(params: SpectrogramParams) -> torch.Tensor:
    """Mel bands as torchaudio makes them, `(bins, bands)`."""
    with warnings.catch_warnings():
        # Bands above half the sample rate, or narrower than a bin, stay silent; that is meant.
        warnings.simplefilter("ignore", UserWarning)
        weights: torch.Tensor = torchaudio.functional.melscale_fbanks(
            n_freqs=params.n_fft // 2 + 1,
            f_min=float(params.min_frequency),
            f_max=float(params.max_frequency),
            n_mels=params.num_frequencies,
            sample_rate=params.sample_rate,
            norm=params.mel_scale_norm,
            mel_scale=params.mel_scale_type,
        )
    return weights
