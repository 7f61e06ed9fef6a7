"""Waveform → mel amplitudes: torchaudio's `Spectrogram` and `MelScale`, several times as fast.

The mel bands end far below half the sample rate, but a full FFT also computes all bins above them.
Let x be the signal and w the window. A frame's spectrum is X(k) = Σ x(n) w(n) exp(-2πi kn / N). If
only every D-th product x(n) w(n) is summed, aliases are added to each bin:

    X'(k) = X(k) + X(k + N/D) + …        (times 1/D, which the scaled window compensates)

The bins up to K are exact if the aliases that fall on them are silent. So x first passes a lowpass
filter that is flat up to the highest band f and reaches its stopband at rate/D - f, the lowest
frequency whose alias would reach the bands. The FFT is then D times shorter. At the defaults D = 2.
Passband ripple and stopband level are -140 dB.

Neighbouring mel bands have neighbouring bins. So the filterbank is applied as one small matrix per
group of bands, without the zeros of the whole matrix. Magnitudes are computed only for the bins
that belong to a band.

The same code computes on NumPy arrays and on PyTorch's tensors; `operations` has what differs.
"""

import math

import numpy as np
import numpy.typing as npt

from riffusion.spectrogram.filterbank import band_groups
from riffusion.spectrogram.operations import Array, Operations
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
_FRAMES_PER_BLOCK = 2048
"""Frames analysed at once; limits the memory for a long recording."""
_FRAMES_PER_FFT = 64
"""Frames transformed at once: 2 MB at the defaults, which fits a second-level cache."""
_BANDS_PER_GROUP = 16


class MelAnalysis:
    """Computes the mel amplitudes of a signal's frames.

    Args:
        params: frames and mel bands.
        operations: those of the signals' type and device.

    Attributes:
        operations: as given.
    """

    def __init__(self, params: SpectrogramParams, operations: Operations) -> None:
        self._p = params
        self._do = self.operations = operations
        groups = band_groups(params, _BANDS_PER_GROUP)
        self._groups = [(group.bins, operations.constant(group.weights)) for group in groups]
        self._num_bins = max(1, *(bins.stop for bins, _ in self._groups))
        highest_hz = (self._num_bins - 1) * params.sample_rate / params.n_fft
        self._factor, lowpass = _decimation(params, highest_hz)
        self._margin = len(lowpass) // 2  # samples that the filter needs before and after
        response = np.fft.rfft(lowpass, _CONVOLUTION_SIZE).astype(np.complex64)
        self._response = operations.constant(response)
        turns = np.arange(0, params.win_length, self._factor) / params.win_length
        window = self._factor * (0.5 - 0.5 * np.cos(2 * np.pi * turns))
        self._window = operations.constant(window.astype(np.float32))

    def __call__(self, signal: Array) -> Array:
        """Compute the mel amplitudes of a signal that is padded by reflection at both ends.

        Args:
            signal: (channels, samples) float32, at least one sample. Zeros are appended if it is
                too short to be reflected.

        Returns:
            (channels, bands, 1 + samples // hop) float32; frame n is centred at sample n · hop.
        """
        p, half = self._p, self._p.n_fft // 2
        num_frames = 1 + signal.shape[1] // p.hop_length
        if signal.shape[1] <= half:
            signal = self._do.zeros_appended(signal, half + 1 - signal.shape[1])
        signal = self._do.reflected(self._do.reflected(signal, half), self._margin)
        channels = []
        for channel in range(len(signal)):
            blocks = []
            for first in range(0, num_frames, _FRAMES_PER_BLOCK):
                last = min(first + _FRAMES_PER_BLOCK, num_frames) - 1
                stop = last * p.hop_length + p.n_fft + 2 * self._margin
                blocks += self._blocks(signal[channel, first * p.hop_length : stop])
            channels.append(self._do.joined(blocks, 0).T[None])
        return self._do.joined(channels, 0)

    def _blocks(self, signal: Array) -> list[Array]:
        """Mel amplitudes of one channel's frames, (frames, bands), in blocks.

        Args:
            signal: (margin + samples + margin,). Frame 0 starts after the margin, and the last
                frame ends before the other margin.

        By definition the window is centred in the FFT's length. Here the FFT starts where the
        window starts, which changes only phases.
        """
        p = self._p
        start = (p.n_fft - p.win_length) // 2
        samples = self._lowpassed(signal)
        stop = len(samples) - p.n_fft + start + p.win_length
        frames = self._do.windows(samples[start:stop], p.win_length, p.hop_length)
        frames = frames[:, :: self._factor]
        blocks = []
        for first in range(0, len(frames), _FRAMES_PER_FFT):
            block = frames[first : first + _FRAMES_PER_FFT] * self._window
            spectra = self._do.rfft(block, p.n_fft // self._factor)
            magnitudes = abs(spectra[:, : self._num_bins])
            bands = [magnitudes[:, bins] @ weights for bins, weights in self._groups]
            blocks.append(self._do.joined(bands, 1))
        return blocks

    def _lowpassed(self, signal: Array) -> Array:
        """Apply the lowpass filter and remove the margins, by the overlap-save method.

        `(n + 2 · margin,)` → `(n,)`. In the circular convolution of a block, all values except the
        first 2 · margin equal those of the linear convolution.
        """
        if self._factor == 1:
            return signal
        length = len(signal) - 2 * self._margin
        step = _CONVOLUTION_SIZE - 2 * self._margin
        signal = self._do.zeros_appended(signal, -length % step)
        blocks = self._do.windows(signal, _CONVOLUTION_SIZE, step)
        spectra = self._do.rfft(blocks, _CONVOLUTION_SIZE) * self._response
        circular = self._do.irfft(spectra, _CONVOLUTION_SIZE)
        return circular[:, 2 * self._margin :].reshape(-1)[:length]


def _decimation(
    params: SpectrogramParams, highest_hz: float
) -> tuple[int, npt.NDArray[np.float64]]:
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
        n = np.arange(-half, half + 1)
        window = np.kaiser(len(n), 0.1102 * (_STOPBAND_DB - 8.7))
        return factor, np.sinc(n / factor) / factor * window
    return 1, np.ones(1)
