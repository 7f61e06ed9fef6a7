"""A short-time Fourier transform at the lowest sample rate that still contains the mel bands."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from riffusion.spectrogram.inversion.ends import Ends
from riffusion.spectrogram.mel_frames import MelFrames
from riffusion.spectrogram.operations import Array, Block, Operations

NORM_FLOOR = 1e-4
"""Added to the squared window, whose ends are 0; matters only where frames barely overlap."""
FACTOR_7_COST = 1.2
"""Relative time of FFTs whose length has a factor of 7: SciPy has special code for 2, 3 and 5."""


class ReducedStft:
    """The spectrogram's frames, computed at a reduced sample rate, and the inverse.

    Mel bands that end at 10 kHz contain nothing above it, so 44100 samples per second aren't needed
    for the phase reconstruction. At a rate reduced by r, the same frames have a hop of r · 441 and
    a window of r · 4410 samples. Both must be whole numbers, so that every frame keeps its time.
    r = 216 / 441 is the value above 20 / 44.1 with the fastest FFTs: hop 216, window 2160. Their
    prime factors are 2, 3 and 5.

    Returning to the full rate needs no resampler: zeros are added above the spectrum, and an
    inverse FFT that is longer by 1 / r gives the same frames with more samples.

    Waveforms are `(clips, samples)`, spectra `(clips, frames, bins)`. As in the spectrogram, a clip
    is padded by reflection at both ends, or by its repetition if it is a loop. Overlap-add folds
    the samples beyond the ends back, so all samples of a clip count equally.

    Args:
        params: the spectrogram's frames.
        operations: those of the arrays.
        windows_per_fft: length of the FFT in windows, about.
    """

    def __init__(
        self, params: MelFrames, operations: Operations, windows_per_fft: float = 2
    ) -> None:
        self._do = operations
        full_hop, full_window = params.hop_length, params.win_length
        self.hop = _reduced_hop(params)
        self.window_length = full_window * self.hop // full_hop
        self.n_fft = _reduced_n_fft(params, self.hop, round(windows_per_fft * self.window_length))
        self.num_bins = self.n_fft // 2 + 1
        self.bin_hz = params.sample_rate * self.hop / full_hop / self.n_fft
        self.min_frames = self.window_length // self.hop + 2
        self.full_hop = full_hop
        self.full_n_fft = self.n_fft * full_hop // self.hop
        self._window = operations.constant(_hann_window(self.window_length))
        self._full_window = operations.constant(_hann_window(full_window))
        # Frame n starts at sample n · hop minus half a window, rounded down. If the two rates round
        # differently, a linear phase shifts the frames to the same time.
        window_periods = self.window_length // 2 / self.hop - full_window // 2 / full_hop
        cycles = np.arange(self.num_bins) * (window_periods * self.hop / self.n_fft)
        shift = np.exp(2j * np.pi * cycles).astype(np.complex64)
        self._shift, self._shift_back = map(operations.constant, (shift, shift.conj()))
        self._is_shifted = window_periods != 0

    def frames(self, frame_weights: Array, ends: Ends, chosen: slice = slice(None)) -> StftFrames:
        """The transform of some of the clips' frames.

        Args:
            frame_weights: weights of the frames in the inverse, `(clips, frames)`, positive.
            ends: what is beyond the ends of the clips.
            chosen: the frames, as a slice with a start and a step that extends to the last frame.
        """
        return StftFrames(self._do, self.n_fft, self._window, self.hop, frame_weights, ends, chosen)

    def reduced(self, waveform: Array, ends: Ends) -> Array:
        """A waveform at the reduced rate: `(clips, frames * full_hop)` → `(clips, frames * hop)`.

        It is transformed at the full rate, and its lower bins are transformed back.
        """
        weights = self._do.zeros(len(waveform), waveform.shape[1] // self.full_hop) + 1
        full = self._full_frames(weights, ends)
        windows = full.windows_of(waveform)

        def lower_bins(block: Block) -> Array:
            spectrum = full.spectrum(windows[block])[..., : self.num_bins]
            return spectrum * self._shift_back if self._is_shifted else spectrum

        return self.frames(weights, ends).waveform_from_spectra(lower_bins)

    def reduced_mask(self, mask: Array) -> Array:
        """Values of a mask at the times of the samples of the reduced rate."""
        num_samples = len(mask) // self.full_hop * self.hop
        times = self._do.numbers(num_samples) * self.full_hop
        return mask[times // self.hop]

    def full_rate_waveform_from_spectra(
        self, spectrum_of: Callable[[Block], Array], frame_weights: Array, ends: Ends
    ) -> Array:
        """Invert all frames at the full rate: a waveform `(clips, frames * full_hop)`.

        Args:
            spectrum_of: the spectrum of a block of frames, at the reduced rate.
            frame_weights, ends: as in `frames`.
        """

        def shifted(block: Block) -> Array:
            spectrum = spectrum_of(block)
            return spectrum * self._shift if self._is_shifted else spectrum

        return self._full_frames(frame_weights, ends).waveform_from_spectra(shifted)

    def _full_frames(self, weights: Array, ends: Ends) -> StftFrames:
        return StftFrames(
            self._do, self.full_n_fft, self._full_window, self.full_hop, weights, ends, slice(None)
        )


class StftFrames:
    """Some frames of the clips' short-time Fourier transform, and the inverse from these alone.

    Both ways are computed in blocks of frames, which `Operations.in_blocks` chooses.
    """

    def __init__(
        self,
        operations: Operations,
        n_fft: int,
        window: Array,
        hop: int,
        frame_weights: Array,
        ends: Ends,
        chosen: slice,
    ) -> None:
        self._do = operations
        self._ends = ends
        self._n_fft = n_fft
        self._window = window
        self._hop = hop
        self._num_frames = frame_weights.shape[1]
        self._first, _, self._step = chosen.indices(self._num_frames)
        weights = frame_weights[:, chosen][..., None]
        self._count = weights.shape[1]
        self._weighted_window = weights * window
        squared = window * window + NORM_FLOOR
        norm = self._overlap_added(lambda block: weights[block] * squared)
        self._norm = norm.clip(min=NORM_FLOOR)  # where no frame reaches the clip's last samples

    def with_n_fft(self, n_fft: int) -> StftFrames:
        """The same frames with an FFT of another length."""
        other = copy.copy(self)
        other._n_fft = n_fft
        return other

    def windows_of(self, waveform: Array) -> Array:
        """The samples of the chosen frames, a view: `(clips, frames * hop)` →
        `(clips, chosen, window_length)`.
        """
        length = len(self._window)
        left = length // 2
        right = max(0, length - left - self._hop)
        padded = self._ends.extended(waveform, left, right, self._do)
        frames = self._do.windows(padded, length, self._hop)
        return frames[:, self._first : self._num_frames : self._step]

    def spectrum(self, windows: Array) -> Array:
        """Transform samples of frames: `(..., window_length)` → `(..., bins)` complex."""
        return self._do.rfft(windows * self._window, self._n_fft)

    def waveform_from_spectra(self, spectrum_of: Callable[[Block], Array]) -> Array:
        """The waveform whose frames are closest to a spectrum, `(clips, frames * hop)`.

        The solution of the least-squares problem with the frames' weights is
        Σ weight · window · frame / Σ weight · window² (Griffin and Lim, "Signal estimation from
        modified short-time Fourier transform", 1984, equation 6, with weights).

        Args:
            spectrum_of: the spectrum of a block of the chosen frames, `(clips, frames, bins)`. It
                is called in threads, and its result may be overwritten.
        """

        def frames_of(block: Block) -> Array:
            frames = self._do.irfft(spectrum_of(block), self._n_fft)[..., : len(self._window)]
            frames *= self._weighted_window[block]
            return frames

        waveform = self._overlap_added(frames_of)
        waveform /= self._norm
        return waveform

    def _overlap_added(self, frames_of: Callable[[Block], Array]) -> Array:
        """Overlap-add the chosen frames, and fold the samples beyond the ends back inside.

        Args:
            frames_of: a block's frames, `(clips, frames, window_length)`.

        Returns:
            `(clips, samples)`.
        """
        length, num_clips = len(self._window), len(self._weighted_window)
        # Frames are split into parts as long as the distance of the chosen frames. Part k of
        # frame n is added to part n + k of the sum, which starts at the first frame.
        distance = self._hop * self._step
        num_parts = math.ceil(length / distance)
        sums: dict[tuple[int, int], Array] = {}  # each block's, at its first clip and frame

        def add(block: Block) -> None:
            frames = frames_of(block)
            clips, count, _ = frames.shape
            parts = self._do.zeros(clips, count + num_parts - 1, distance)
            for part in range(num_parts):
                values = frames[..., part * distance : (part + 1) * distance]
                landed = parts[:, part : part + count, : values.shape[-1]]
                landed += values
            sums[block[0].start, block[1].start] = parts.reshape(clips, -1)

        self._do.in_blocks(add, num_clips, self._count)
        begin = self._hop * self._first
        num_samples = self._num_frames * self._hop
        end = max(num_samples - self._hop + length, num_samples + length // 2)
        size = max(end, begin + (self._count + num_parts - 1) * distance)
        total = self._do.zeros(num_clips, size)
        for (clip, frame), samples in sorted(sums.items(), key=lambda item: item[0]):
            start = begin + frame * distance
            total[clip : clip + len(samples), start : start + samples.shape[1]] += samples
        return self._ends.folded(total[:, :end], length // 2, num_samples, self._do)


def _hann_window(length: int) -> npt.NDArray[np.float32]:
    """(length,), periodic."""
    turns = np.arange(length) / length
    return (0.5 - 0.5 * np.cos(2 * np.pi * turns)).astype(np.float32)


def _reduced_hop(params: MelFrames) -> int:
    """The hop with the fastest FFTs, of those whose rate contains the bands with whole lengths."""
    main_lobe_hz = 2 * params.sample_rate / params.win_length
    top_hz = min(params.max_frequency + main_lobe_hz, params.sample_rate / 2)
    lowest = math.ceil(2 * top_hz / params.sample_rate * params.hop_length)
    costs = {
        hop: _fft_cost(hop * params.win_length // params.hop_length)
        for hop in range(max(1, lowest), params.hop_length + 1)
        if hop * params.win_length % params.hop_length == 0
    }
    fastest = min(costs, key=lambda hop: costs[hop])
    return fastest if costs[fastest] < math.inf else params.hop_length


def _reduced_n_fft(params: MelFrames, hop: int, wanted: int) -> int:
    """A length near `wanted`: an integer at both rates, smooth if possible.

    It isn't longer than the spectrogram's own FFT; otherwise some bins would belong to no band.
    """
    window_length = params.win_length * hop // params.hop_length
    step = hop // math.gcd(hop, params.hop_length)  # n_fft / r is an integer for multiples of this
    longest = params.n_fft * hop // params.hop_length
    wanted = min(wanted, longest)
    lengths = range(step * math.ceil(window_length / step), longest + 1, step)
    ranked = sorted(lengths, key=lambda n: (_fft_cost(n) == math.inf, abs(n - wanted)))
    near = (n for n in ranked if abs(n - wanted) <= wanted / 4)
    return next(near, window_length)


def _fft_cost(length: int) -> float:
    """Relative time of an FFT, infinite for lengths with a prime factor above 7."""
    rest = length
    for prime in (2, 3, 5, 7):
        while rest % prime == 0:
            rest //= prime
    if rest > 1:
        return math.inf
    return length * (FACTOR_7_COST if length % 7 == 0 else 1)
