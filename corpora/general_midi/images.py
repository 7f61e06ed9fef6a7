"""Loop → spectrogram image, equal to `music.seed_images.loop_image`, and seven times as fast.

The loop is periodic, so an FFT of all of it, cut off above the highest mel band, gives the same
periodic signal from fewer samples: 210 a column in place of 441. Windowed frames of it have the
same spectra below 10 kHz up to the sidelobes of a Hann window, which are 130 dB down at this
distance. Mel bands overlap only their neighbours, so their sums over the remaining bins are a
sparse product.
"""

import functools
import io

import numpy as np
import torchaudio
from numpy.lib.stride_tricks import sliding_window_view
from scipy import fft, sparse

from riffusion.audio.waveform import Waveform
from riffusion.loops.seed_images import image_with_params
from riffusion.spectrogram.converter import FULL_SCALE
from riffusion.spectrogram.image import FloatArray
from riffusion.spectrogram.params import SpectrogramParams

_REDUCED_HOP = 210
_FULL_HOP = 441
_FRAMES_PER_BLOCK = 64
_COMPRESSION = 1
"""zlib's fastest: 30 % larger files, a tenth of the time."""


def image_bytes(waveform: Waveform, params: SpectrogramParams) -> bytes:
    """A grey PNG of a loop, with parameters and maximum in its EXIF.

    Args:
        waveform: (1, samples) at 44.1 kHz; samples a multiple of the hop.
        params: with the default sizes and rates.
    """
    image = image_with_params(loop_mel_amplitudes(waveform, params), params)
    grey = image.getchannel(0)
    stream = io.BytesIO()
    grey.save(stream, "PNG", exif=image.info["exif"], compress_level=_COMPRESSION)
    return stream.getvalue()


def loop_mel_amplitudes(waveform: Waveform, params: SpectrogramParams) -> FloatArray:
    """Mel amplitudes of a loop, as if it were played for ever.

    Args:
        waveform: (channels, samples) in [-1, 1]; samples a multiple of the hop.
        params: with hop, window, FFT and highest frequency as by default.

    Returns:
        (channels, frequency, samples / hop) float32, amplitudes of 16-bit samples.
    """
    num_columns = waveform.shape[-1] // params.hop_length
    window_length = params.win_length * _REDUCED_HOP // _FULL_HOP
    n_fft = params.n_fft * _REDUCED_HOP // _FULL_HOP
    num_reduced = num_columns * _REDUCED_HOP
    spectrum = fft.rfft(waveform.astype(np.float64) * FULL_SCALE)[..., : num_reduced // 2 + 1]
    reduced = fft.irfft(spectrum, num_reduced)  # scaled as fewer samples make fewer summands
    half = window_length // 2
    extended = np.pad(reduced, ((0, 0), (half, window_length)), mode="wrap").astype(np.float32)
    window = _hann_window(window_length)
    bands_from_bins, num_bins = _mel_bands(params)
    amplitudes = np.empty((len(waveform), params.num_frequencies, num_columns), np.float32)
    for channel, samples in enumerate(extended):
        frames = sliding_window_view(samples, window_length)[::_REDUCED_HOP]
        for first in range(0, num_columns, _FRAMES_PER_BLOCK):
            block = frames[first : min(first + _FRAMES_PER_BLOCK, num_columns)] * window
            magnitudes = np.abs(fft.rfft(block, n_fft)[:, :num_bins])
            amplitudes[channel, :, first : first + len(block)] = bands_from_bins @ magnitudes.T
    return amplitudes


@functools.cache
def _hann_window(length: int) -> FloatArray:
    """A periodic Hann window (length,)."""
    phases = 2 * np.pi * np.arange(length) / length
    window: FloatArray = (0.5 - 0.5 * np.cos(phases)).astype(np.float32)
    return window


@functools.lru_cache(maxsize=2)
def _mel_bands(params: SpectrogramParams) -> tuple[sparse.csr_array, int]:
    """The filterbank (bands, bins) over the bins that reach into a band, and how many they are."""
    weights = torchaudio.functional.melscale_fbanks(
        n_freqs=params.n_fft // 2 + 1,
        f_min=float(params.min_frequency),
        f_max=float(params.max_frequency),
        n_mels=params.num_frequencies,
        sample_rate=params.sample_rate,
        norm=params.mel_scale_norm,
        mel_scale=params.mel_scale_type,
    ).numpy()
    num_bins = int(np.flatnonzero(weights.any(axis=1))[-1]) + 1
    return sparse.csr_array(weights[:num_bins].T), num_bins
