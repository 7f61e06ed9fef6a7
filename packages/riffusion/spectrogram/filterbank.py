"""The mel filterbank of the analysis.

A filterbank of triangles: band m rises from 0 at the frequency f(m) to 1 at f(m + 1) and falls to 0
at f(m + 2). The frequencies f are equally spaced on the mel scale.

This is torchaudio's `melscale_fbanks`, and it rounds to float32 where torchaudio does. The two
differ only in bands whose edge is a power that PyTorch rounds the other way, in the last bit.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from riffusion.spectrogram.image import FloatArray
from riffusion.spectrogram.mel_frames import MelFrames
from riffusion.spectrogram.mel_scale import hz_from_mel, mel_from_hz

Numbers = npt.NDArray[np.float32]


@dataclass(frozen=True)
class BandGroup:
    """Neighbouring mel bands, and the bins that belong to them.

    Args:
        bins: the bins, a slice with a start and a stop.
        weights: (bins, bands) float32.
    """

    bins: slice
    weights: FloatArray


def mel_filterbank(params: MelFrames) -> FloatArray:
    """The whole filterbank: weights (params.n_fft // 2 + 1 bins, num_frequencies bands), float32.

    Bands that are above half the sample rate or narrower than a bin have no weights and stay
    silent.
    """
    weights = np.zeros((params.n_fft // 2 + 1, params.num_frequencies), np.float32)
    first = 0
    for group in band_groups(params, 32):
        end = first + group.weights.shape[1]
        weights[group.bins, first:end] = group.weights
        first = end
    return weights


def band_groups(params: MelFrames, num_bands: int) -> list[BandGroup]:
    """The filterbank, from low to high, in groups of `num_bands`; the last one may have fewer."""
    low, high = (
        mel_from_hz(hz, params.mel_scale_type)
        for hz in (params.min_frequency, params.max_frequency)
    )
    edges = hz_from_mel(_evenly(low, high, params.num_frequencies + 2), params.mel_scale_type)
    # torchaudio rounds half of an odd sample rate down.
    bin_hz = _evenly(0, params.sample_rate // 2, params.n_fft // 2 + 1)
    return [
        _group(edges[first : first + num_bands + 2], bin_hz, params.mel_scale_norm)
        for first in range(0, params.num_frequencies, num_bands)
    ]


def _group(edges: Numbers, bin_hz: Numbers, norm: str | None) -> BandGroup:
    """The bands between `edges` in Hz, which are two more than the bands."""
    start = int(np.searchsorted(bin_hz, edges[0], "right"))
    bins = slice(start, max(start, int(np.searchsorted(bin_hz, edges[-1]))))
    hz = bin_hz[bins, None]
    widths = np.diff(edges)
    rising, falling = (hz - edges[:-2]) / widths[:-1], (edges[2:] - hz) / widths[1:]
    weights = np.maximum(0, np.minimum(rising, falling))
    if norm == "slaney":
        weights *= 2 / (edges[2:] - edges[:-2])
    return BandGroup(bins, weights)


def _evenly(low: float, high: float, count: int) -> Numbers:
    """Evenly spaced numbers as `torch.linspace` rounds them: by float32 steps from both ends."""
    first, last = np.float32(low), np.float32(high)
    step = float((last - first) / np.float32(count - 1))
    index = np.arange(count)
    from_first, from_last = first + step * index, last - step * (count - 1 - index)
    return np.where(index < count // 2, from_first, from_last).astype(np.float32)
