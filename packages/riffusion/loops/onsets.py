"""Onset strength, from audio that arrives in blocks: a recording of any length takes little memory.

Onset strength is spectral flux: the increase in loudness from one frame to the next, on a
logarithmic scale, summed over bands. What is kept of a recording is the mean magnitude of 40 bands
per frame of 10 ms: 16 kB per second.
"""

import itertools
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import scipy  # scipy.fft is imported at its first use
from numpy.lib.stride_tricks import sliding_window_view

from riffusion.audio.waveform import Waveform
from riffusion.loops.oscillators import Signal

STEP_S = 0.01
"""Nominal time from frame to frame; `OnsetFrames.step_s` is the actual one."""
_WINDOW_S = 0.046
_NUM_EDGES = 41
_FRAMES_PER_BLOCK = 512
"""Frames transformed at once; limits the memory for a long recording."""
_FRAMES_PER_SUM = 8192
_RANGE = 1000.0
"""Range of the logarithmic scale: 60 dB."""

Bands = npt.NDArray[np.float32]
"""(bands, frames): mean magnitudes, low frequencies first."""


class OnsetFrames:
    """Magnitudes of bands, frame by frame, of audio that arrives in blocks.

    Blocks of any lengths give the same values as the whole audio at once. Frame n is centred at
    sample n · hop.

    Args:
        sample_rate: in Hz.
    """

    def __init__(self, sample_rate: int) -> None:
        self._hop = max(1, round(STEP_S * sample_rate))
        self._n_fft = 2 * round(_WINDOW_S * sample_rate / 2)
        self._window = (
            0.5 - 0.5 * np.cos(2 * np.pi * np.arange(self._n_fft) / self._n_fft)
        ).astype(np.float32)
        edges = np.unique(np.geomspace(2, self._n_fft // 2, _NUM_EDGES).astype(int))
        self._edges = list(itertools.pairwise(edges))
        self._found: Bands = np.empty((len(self._edges), 0), np.float32)  # larger than needed
        self._num_found = 0
        self._waiting: list[npt.NDArray[np.float32]] = [self._padding()]  # centres the frames
        self._num_waiting = self._n_fft // 2
        self.sample_rate = sample_rate
        self.step_s = self._hop / sample_rate
        """Actual time from frame to frame, in seconds."""
        self.band_edges_hz = np.array(edges) * (sample_rate / self._n_fft)
        """Edges of the bands, one more than there are bands."""

    def push(self, block: Waveform) -> None:
        """Add the next samples: (channels, samples), mixed to mono."""
        self._waiting.append(block.mean(axis=0, dtype=np.float32))
        self._num_waiting += block.shape[1]
        group = (_FRAMES_PER_BLOCK - 1) * self._hop + self._n_fft
        if self._num_waiting < group:
            return
        mono = np.concatenate(self._waiting)
        start = 0
        while mono.size - start >= group:
            self._keep(self._bands(mono[start : start + group]))
            start += _FRAMES_PER_BLOCK * self._hop
        self._waiting = [mono[start:].copy()]
        self._num_waiting = mono.size - start

    def finish(self) -> Bands:
        """The bands of all frames; samples / hop + 1 of them, rounded down."""
        mono = np.concatenate([*self._waiting, self._padding()])
        if mono.size >= self._n_fft:
            self._keep(self._bands(mono))
        self._waiting = []
        return self._found[:, : self._num_found]

    def _keep(self, bands: Bands) -> None:
        """Add the next frames. Room for more takes no memory until it is written to."""
        end = self._num_found + bands.shape[1]
        if end > self._found.shape[1]:
            larger = np.empty((len(bands), max(2 * self._num_found, end)), np.float32)
            larger[:, : self._num_found] = self._found[:, : self._num_found]
            self._found = larger
        self._found[:, self._num_found : end] = bands
        self._num_found = end

    def _padding(self) -> npt.NDArray[np.float32]:
        return np.zeros(self._n_fft // 2, np.float32)

    def _bands(self, mono: npt.NDArray[np.float32]) -> Bands:
        frames = sliding_window_view(mono, self._n_fft)[:: self._hop]
        bands = np.empty((len(self._edges), len(frames)), np.float32)
        for first in range(0, len(frames), _FRAMES_PER_BLOCK):
            block = slice(first, first + _FRAMES_PER_BLOCK)
            magnitudes = np.abs(scipy.fft.rfft(frames[block] * self._window))
            for band, (low, high) in enumerate(self._edges):
                bands[band, block] = magnitudes[:, low:high].mean(axis=1)
        return bands


def loudness_from_bands(bands: Bands, loudest: float) -> Bands:
    """Loudness on a logarithmic scale, log(1 + 1000 · magnitude / loudest), like `bands`."""
    loudness: Bands = np.log1p(_RANGE * bands / max(loudest, 1e-12))
    return loudness


def mean_loudness(bands: Bands) -> Signal:
    """Mean of the bands' loudness (frames,), relative to the largest magnitude."""
    loudest = float(bands.max(initial=0))
    parts = [loudness_from_bands(part, loudest).mean(axis=0) for _, part in _parts(bands)]
    return np.concatenate([np.zeros(0), *parts])


def strength_from_bands(bands: Bands, loudest: float | None = None) -> Signal:
    """Onset strength (frames,): the increase in loudness, summed over bands; 0 if none is louder.

    Args:
        bands: (bands, frames).
        loudest: magnitude that loudness is relative to; None for the largest of `bands`.
    """
    if loudest is None:
        loudest = float(bands.max(initial=0))
    strength: Signal = np.zeros(bands.shape[1])
    for first, part in _parts(bands, overlap=1):
        flux = np.maximum(np.diff(loudness_from_bands(part, loudest), axis=1), 0).sum(axis=0)
        strength[first + 1 : first + 1 + flux.size] = flux
    return strength


def _parts(bands: Bands, overlap: int = 0) -> Iterator[tuple[int, Bands]]:
    """Parts of the frames, each with its first one: the memory for all would be large."""
    for first in range(0, bands.shape[1] - overlap, _FRAMES_PER_SUM):
        yield first, bands[:, first : first + _FRAMES_PER_SUM + overlap]


def onset_strength(waveform: Waveform, sample_rate: int) -> Signal:
    """Onset strength (frames,), one value per 10 ms; 0 if no band becomes louder.

    Args:
        waveform: (channels, samples); mixed to mono.
        sample_rate: in Hz.
    """
    frames = OnsetFrames(sample_rate)
    frames.push(waveform)
    return strength_from_bands(frames.finish())
