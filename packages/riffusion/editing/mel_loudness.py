"""The loudness of mel amplitudes, without the sound that they become.

Let S be the spectrum of a frame: the N-point FFT of a signal x times a window w. By Parseval's
theorem the mean of x² in the frame is 2 · Σ |S(k)|² / (N · Σ w²), summed over the bins k of
positive frequency. A mel amplitude is a sum of magnitudes, A(m) = Σ B(k, m) · |S(k)|, over a band
that is hardly wider than the peak of a tone in S. So |S| is about A(m) / Σ B(k, m) in the band, and
the sum over bins is a sum over bands, each times its width in bins.

With the weights of ITU-R BS.1770 that is the loudness of noise, chords and tones within 1.5 LU.
Where a band is wider than a tone's peak, the tone is measured too low: pure tones of 9 kHz by 5 LU.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from riffusion.audio.loudness_meter import OFFSET_LUFS, k_weighting
from riffusion.editing.surroundings import Bands
from riffusion.spectrogram.converter import FULL_SCALE
from riffusion.spectrogram.filterbank import mel_filterbank
from riffusion.spectrogram.mel_scale import mel_row_frequencies_hz
from riffusion.spectrogram.params import SpectrogramParams

FloatArray = npt.NDArray[np.float32]


class MelLoudness:
    """Measures the loudness of mel amplitudes.

    Args:
        params: the parameters of their spectrogram.
        bands: which bands are measured, (bands,); None for all.
    """

    def __init__(self, params: SpectrogramParams, bands: Bands | None = None) -> None:
        hz = mel_row_frequencies_hz(params)
        areas = mel_filterbank(params).sum(0, dtype=np.float64)
        widths = np.gradient(hz) * params.n_fft / params.sample_rate
        window_power = 3 / 8 * params.win_length  # Hann
        bins = np.divide(widths, areas**2, out=np.zeros_like(widths), where=areas > 0)
        weights = np.square(np.abs(k_weighting(hz, params.sample_rate)))
        powers = 2 / (params.n_fft * window_power * FULL_SCALE**2) * bins * weights
        self._powers = powers if bands is None else powers * bands

    def lufs(self, amplitudes: FloatArray) -> float:
        """Loudness of frames in mono, without a gate; -inf for silence.

        Args:
            amplitudes: (bands, frames) in 16-bit units, at least one frame.
        """
        return float(_lufs_from_power(np.mean(self._powers_of_frames(amplitudes))))

    def of_frames(self, amplitudes: FloatArray) -> npt.NDArray[np.float64]:
        """Loudness of each frame, (frames,); see `lufs`."""
        return _lufs_from_power(self._powers_of_frames(amplitudes))

    def _powers_of_frames(self, amplitudes: FloatArray) -> npt.NDArray[np.float64]:
        return np.asarray(self._powers @ np.square(amplitudes, dtype=np.float64))


def _lufs_from_power(power: Any) -> npt.NDArray[np.float64]:
    with np.errstate(divide="ignore"):
        return np.asarray(OFFSET_LUFS + 10 * np.log10(power))
