"""A short-time Fourier transform at the lowest sample rate that still contains the mel bands."""

from __future__ import annotations

import math

import torch

from riffusion.spectrogram.mel_frames import MelFrames

BINS_PER_WINDOW_PERIOD = 2
"""Length of the FFT in windows: 5 Hz bins for 100 ms. With 1, levels of narrow bands are wrong."""
NORM_FLOOR = 1e-4
"""Added to the squared window, whose ends are 0; matters only where frames barely overlap."""


class ReducedStft:
    """The spectrogram's frames, computed at a reduced sample rate, and the inverse.

    Mel bands that end at 10 kHz contain nothing above it, so 44100 samples per second aren't needed
    for the phase reconstruction. At a rate reduced by r, the same frames have a hop of r · 441 and
    a window of r · 4410 samples. Both must be whole numbers, so that every frame keeps its time.
    r = 210 / 441 is the smallest value above 20 / 44.1 for which they are, and for which their
    prime factors are small, which makes FFTs fast: hop 210, window 2100.

    Returning to the full rate needs no resampler: zeros are added above the spectrum, and an
    inverse FFT that is longer by 1 / r gives the same frames with more samples.

    Waveforms are `(clips, samples)`, spectra `(clips, frames, bins)`. As in the spectrogram, a clip
    is padded by reflection at both ends. Overlap-add reflects the samples beyond the ends back, so
    all samples of a clip count equally.
    """

    def __init__(self, params: MelFrames, device: torch.device) -> None:
        full_hop, full_window = params.hop_length, params.win_length
        self.hop = _reduced_hop(params)
        self.window_length = full_window * self.hop // full_hop
        self.n_fft = _reduced_n_fft(params, self.hop, self.window_length)
        self.num_bins = self.n_fft // 2 + 1
        self.bin_hz = params.sample_rate * self.hop / full_hop / self.n_fft
        self.min_frames = self.window_length // self.hop + 2
        self.full_hop = full_hop
        self._full_n_fft = self.n_fft * full_hop // self.hop
        self._window = torch.hann_window(self.window_length, device=device)
        self._full_window = torch.hann_window(full_window, device=device)
        # Frame n starts at sample n · hop minus half a window, rounded down. If the two rates round
        # differently, a linear phase shifts the frames to the same time.
        window_periods = self.window_length // 2 / self.hop - full_window // 2 / full_hop
        cycles = torch.arange(self.num_bins, device=device) * (
            window_periods * self.hop / self.n_fft
        )
        self._shift = torch.polar(torch.ones_like(cycles), 2 * math.pi * cycles)
        self._is_shifted = window_periods != 0

    def frames(self, frame_weights: torch.Tensor, chosen: slice = slice(None)) -> StftFrames:
        """The transform of some of the clips' frames.

        Args:
            frame_weights: weights of the frames in the inverse, `(clips, frames)`, positive.
            chosen: the frames, as a slice with a start and a step that extends to the last frame.
        """
        return StftFrames(self.n_fft, self._window, self.hop, frame_weights, chosen)

    def reduced(self, waveform: torch.Tensor) -> torch.Tensor:
        """A waveform at the reduced rate: `(clips, frames * full_hop)` → `(clips, frames * hop)`.

        It is transformed at the full rate, and its lower bins are transformed back.
        """
        num_frames = waveform.shape[1] // self.full_hop
        weights = waveform.new_ones(len(waveform), num_frames)
        full = StftFrames(self._full_n_fft, self._full_window, self.full_hop, weights)
        spectrum = full.spectrum_from_waveform(waveform)[..., : self.num_bins]
        if self._is_shifted:
            spectrum = spectrum * self._shift.conj()
        return self.frames(weights).waveform_from_spectrum(spectrum)

    def reduced_mask(self, mask: torch.Tensor) -> torch.Tensor:
        """Values of a mask at the times of the samples of the reduced rate."""
        num_samples = len(mask) // self.full_hop * self.hop
        times = torch.arange(num_samples, device=mask.device) * self.full_hop
        return mask[times // self.hop]

    def full_rate_waveform_from_spectrum(
        self, spectrum: torch.Tensor, frame_weights: torch.Tensor
    ) -> torch.Tensor:
        """Invert all frames at the full rate: `(clips, frames, bins)` → `(clips, full samples)`.

        `full samples` is frames * `full_hop`.
        """
        if self._is_shifted:
            spectrum = spectrum * self._shift
        frames = StftFrames(self._full_n_fft, self._full_window, self.full_hop, frame_weights)
        return frames.waveform_from_spectrum(spectrum)


class StftFrames:
    """Some frames of the clips' short-time Fourier transform, and the inverse from these alone."""

    def __init__(
        self,
        n_fft: int,
        window: torch.Tensor,
        hop: int,
        frame_weights: torch.Tensor,
        chosen: slice = slice(None),
    ) -> None:
        self._n_fft = n_fft
        self._window = window
        self._hop = hop
        self._num_frames = frame_weights.shape[1]
        self._first, _, self._step = chosen.indices(self._num_frames)
        weights = frame_weights[:, chosen].unsqueeze(-1)
        self._weighted_window = weights * window
        squared = (window * window + NORM_FLOOR).expand(*weights.shape[:2], -1)
        norm = self._overlap_added(squared, weights.expand_as(squared))
        self._norm = norm.clamp_(min=NORM_FLOOR)  # where no frame reaches the clip's last samples
        self._padded_frames = window.new_zeros(*weights.shape[:2], n_fft)

    def spectrum_from_waveform(self, waveform: torch.Tensor) -> torch.Tensor:
        """Transform chosen frames: `(clips, frames * hop)` → `(clips, chosen, bins)` complex."""
        length = self._window.shape[0]
        left = length // 2
        right = length - left - self._hop
        before, after = waveform[:, 1 : left + 1], waveform[:, -max(0, right) - 1 : -1]
        padded = torch.cat([before.flip(1), waveform, after.flip(1)], 1)  # 3 × as fast as pad
        frames = padded.unfold(1, length, self._hop)[:, self._first : self._num_frames : self._step]
        torch.mul(frames, self._window, out=self._padded_frames[..., :length])
        spectrum: torch.Tensor = torch.fft.rfft(self._padded_frames)
        return spectrum

    def waveform_from_spectrum(self, spectrum: torch.Tensor) -> torch.Tensor:
        """The waveform whose frames are closest to `spectrum`, `(clips, chosen, bins)`.

        The solution of the least-squares problem with the frames' weights is
        Σ weight · window · frame / Σ weight · window² (Griffin and Lim, "Signal estimation from
        modified short-time Fourier transform", 1984, equation 6, with weights).
        """
        frames = torch.fft.irfft(spectrum, self._n_fft)[..., : self._window.shape[0]]
        return self._overlap_added(frames, self._weighted_window).div_(self._norm)

    def _overlap_added(self, frames: torch.Tensor, envelopes: torch.Tensor) -> torch.Tensor:
        """Overlap-add frames times envelopes, and reflect the samples beyond the ends back.

        Both are `(clips, chosen, window_length)`; the result is `(clips, samples)`.
        """
        clips, count, length = frames.shape
        # Frames are split into blocks as long as the distance of the chosen frames. Block b of
        # frame n is added to block n + b of the sum, which starts at the first frame.
        distance = self._hop * self._step
        begin = self._hop * self._first
        num_blocks = math.ceil(length / distance)
        num_samples = self._num_frames * self._hop
        end = max(num_samples - self._hop + length, num_samples + length // 2)
        size = max(end, begin + (count + num_blocks - 1) * distance)
        total = frames.new_zeros(clips, size)
        blocks = total[:, begin : begin + (count + num_blocks - 1) * distance]
        blocks = blocks.view(clips, -1, distance)
        for block in range(num_blocks):
            part = slice(block * distance, min((block + 1) * distance, length))
            landed = blocks[:, block : block + count, : part.stop - part.start]
            landed.addcmul_(frames[..., part], envelopes[..., part])
        return _folded(total[:, :end], length // 2, num_samples)


def _folded(padded: torch.Tensor, left: int, num_samples: int) -> torch.Tensor:
    """The transpose of padding by reflection: adds the samples beyond the ends back inside."""
    out = padded[:, left : left + num_samples].clone()
    out[:, 1 : left + 1] += padded[:, :left].flip(1)
    right = min(padded.shape[1] - left - num_samples, num_samples - 1)
    if right > 0:
        beyond = padded[:, left + num_samples : left + num_samples + right]
        out[:, -right - 1 : -1] += beyond.flip(1)
    return out


def _reduced_hop(params: MelFrames) -> int:
    """The smallest hop whose rate contains the mel bands, with integer and smooth lengths."""
    main_lobe_hz = 2 * params.sample_rate / params.win_length
    top_hz = min(params.max_frequency + main_lobe_hz, params.sample_rate / 2)
    lowest = math.ceil(2 * top_hz / params.sample_rate * params.hop_length)
    whole = [
        hop
        for hop in range(max(1, lowest), params.hop_length + 1)
        if hop * params.win_length % params.hop_length == 0
    ]
    smooth = (hop for hop in whole if _is_smooth(hop * params.win_length // params.hop_length))
    return next(smooth, whole[-1])


def _reduced_n_fft(params: MelFrames, hop: int, window_length: int) -> int:
    """A length near `BINS_PER_WINDOW_PERIOD` windows: an integer at both rates, smooth if possible.

    It isn't longer than the spectrogram's own FFT; otherwise some bins would belong to no band.
    """
    step = hop // math.gcd(hop, params.hop_length)  # n_fft / r is an integer for multiples of this
    longest = params.n_fft * hop // params.hop_length
    wanted = min(BINS_PER_WINDOW_PERIOD * window_length, longest)
    lengths = range(step * math.ceil(window_length / step), longest + 1, step)
    ranked = sorted(lengths, key=lambda n: (not _is_smooth(n), abs(n - wanted)))
    near = (n for n in ranked if abs(n - wanted) <= wanted / 4)
    return next(near, window_length)


def _is_smooth(number: int) -> bool:
    """Whether `number` has no prime factor above 7."""
    for prime in (2, 3, 5, 7):
        while number % prime == 0:
            number //= prime
    return number == 1
