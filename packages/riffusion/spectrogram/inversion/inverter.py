"""From mel amplitudes to a waveform: the phases, and what the mel bands summed up, come back."""

from __future__ import annotations

import torch

from riffusion.errors import InputError
from riffusion.spectrogram.filterbank import MelFilterbank
from riffusion.spectrogram.inversion.initial_phase import phases_from_magnitudes
from riffusion.spectrogram.inversion.reduced_stft import ReducedStft, StftColumns
from riffusion.spectrogram.params import SpectrogramParams

MAGNITUDE_UPDATES = 8
"""Updates of the first magnitudes; twice as many change the result by less than 2 %."""
RELAXATION = 1.2
"""Length of a step in projections; from 1.4 on the iteration diverges."""
MOMENTUM = 0.9
"""Share of the last step that is repeated; 1.0 is slower, 0.8 too."""
SUBSET_HOP = 0.3
"""Longest distance of a subset's columns, in windows; at 0.4 the subsets contradict each other."""
PASSES_PER_ITERATION = 1.5
"""Passes over a subset for each of `num_griffin_lim_iters`: half the work of passes over all."""
FINAL_PASSES = 4
"""The last passes see all columns at once, so that none is favoured."""
QUIETEST = 3e-3
"""Loudness below which frames weigh the same, relative to the clip's loudest: -50 dB."""
COLUMNS_AT_ONCE = {"cpu": 512, "cuda": 16384}
"""Columns that are inverted together: what fits a processor's cache, or keeps a GPU busy."""


class MelInverter:
    """Finds waveforms whose mel spectrograms are the given ones.

    Let S be the short-time Fourier transform, and B the sum of its magnitudes over mel bands. For
    an image M we look for x with B · |S x| = M. Griffin and Lim's method knows |S x| and projects
    in turn on the spectra with these magnitudes and on the spectra that some waveform has. Here
    only the sums are known, and fixing magnitudes to a guess would never let them recover. So the
    first projection moves the magnitudes no further than the bands ask for: each bin keeps its
    phase and gets the gain that its bands' M / (B · |S x|) call for (`MelFilterbank.gains`). Fine
    structure inside a band then follows from what neighbouring columns agree on. With

        P x = S⁻¹ (gains(|S x|, M) · S x)

    and relaxation γ and momentum α the iteration is that of accelerated Griffin-Lim (Perraudin,
    Balazs and Søndergaard, "A fast Griffin-Lim algorithm", 2013, for γ = 1; Nenov, Nguyen, Balazs
    and Boţ, "Faster than fast: accelerating the Griffin-Lim algorithm", 2023, for its α = β):

        sₙ = (1 - γ) tₙ₋₁ + γ P tₙ₋₁
        tₙ = sₙ + α (sₙ - sₙ₋₁)

    P is linear only in S and S⁻¹, so s and t are kept as waveforms, 20 times smaller than spectra.
    Four things make it fast:

    - S runs at the lowest rate that holds the bands, with an FFT of two windows (`ReducedStft`);
    - the first phases come from the spectrogram's own peaks (`phases_from_magnitudes`);
    - columns overlap by 90 %, so a third of them determines x. Each pass takes every third column,
      the next pass the ones beside them: as many passes as ever, each at a third of the cost.
      (Ordered subsets, Hudson and Larkin, "Accelerated image reconstruction", 1994, section II);
    - S⁻¹ weighs each frame's error by the inverse of its loudness. That makes errors relative, and
      keeps an attack out of the silence before it, where it would be heard.

    Nothing is random: the same amplitudes give the same waveform.

    Args:
        params: of the spectrograms; `num_griffin_lim_iters` trades time for quality.
        device: where the work is done.
    """

    def __init__(self, params: SpectrogramParams, device: torch.device | str = "cpu") -> None:
        self.params = params
        self.device = torch.device(device)
        self._stft = stft = ReducedStft(params, self.device)
        self._filterbank = MelFilterbank(params, stft.bin_hz, stft.num_bins, self.device)
        self._num_subsets = max(1, int(SUBSET_HOP * stft.window_length / stft.hop))

    @torch.no_grad()
    def waveform_from_mel_amplitudes(self, amplitudes_mel: torch.Tensor) -> torch.Tensor:
        """Invert mel spectrograms, all leading dimensions in one go.

        The waveform's own mel spectrogram has the level of `amplitudes_mel`. Lost are the absolute
        phase, and what bands and windows blurred. An image shorter than the window is inverted as
        if its last column went on.

        Args:
            amplitudes_mel: `(..., num_frequencies, frames)`, at least 0, any floating-point type.

        Returns:
            `(..., frames * hop_length)` float32, not limited to [-1, 1].

        Raises:
            InputError: the shape is not that, or an amplitude is negative, infinite or NaN.
        """
        num_bands = self.params.num_frequencies
        shape = tuple(amplitudes_mel.shape)
        if len(shape) < 2 or shape[-2] != num_bands or 0 in shape:
            raise InputError(
                f"amplitudes_mel.shape={shape} must be (..., {num_bands}, frames) with at least "
                "one frame; num_frequencies of the parameters sets the bands"
            )
        clips = amplitudes_mel.to(self.device, torch.float32).reshape(-1, num_bands, shape[-1])
        lowest, highest = (value.item() for value in torch.aminmax(clips))
        if not (lowest >= 0 and highest < float("inf")):  # NaN fails both
            raise InputError(
                f"amplitudes_mel from {lowest} to {highest} must be finite float32 and at least 0; "
                "clamp or replace the values"
            )
        clips_at_once = max(1, COLUMNS_AT_ONCE.get(self.device.type, 512) // shape[-1])
        waveforms = [self._invert(part) for part in torch.split(clips, clips_at_once)]
        return torch.cat(waveforms).reshape(*shape[:-2], shape[-1] * self.params.hop_length)

    def _invert(self, amplitudes: torch.Tensor) -> torch.Tensor:
        """`(clips, bands, frames)` → `(clips, frames * hop_length)`."""
        num_frames = amplitudes.shape[2]
        missing = max(0, self._stft.min_frames - num_frames)
        amplitudes = torch.cat([amplitudes, amplitudes[..., -1:].expand(-1, -1, missing)], dim=2)
        level = amplitudes.amax((1, 2)).clamp_(min=torch.finfo(torch.float32).tiny)
        target = (amplitudes / level[:, None, None]).transpose(0, 1).contiguous()
        frame_weights = _frame_weights(target)

        spectrum = self._first_spectrum(target)
        everything = _Part(target, self._stft, frame_weights, slice(None))
        subsets = [
            _Part(target, self._stft, frame_weights, slice(first, None, self._num_subsets))
            for first in range(self._num_subsets)
        ]
        guess = last = everything.columns.waveform_from_spectrum(spectrum)
        num_passes = round(PASSES_PER_ITERATION * self.params.num_griffin_lim_iters)
        for index in range(num_passes):
            is_final = index >= num_passes - FINAL_PASSES
            part = everything if is_final else subsets[index % self._num_subsets]
            spectrum = self._with_mel(part.columns.spectrum_from_waveform(guess), part.target)
            step = torch.lerp(guess, part.columns.waveform_from_spectrum(spectrum), RELAXATION)
            guess, last = torch.lerp(last, step, 1 + MOMENTUM), step
        waveform = self._stft.full_rate_waveform_from_spectrum(spectrum, frame_weights)
        return waveform[:, : num_frames * self.params.hop_length] * level[:, None]

    def _first_spectrum(self, target: torch.Tensor) -> torch.Tensor:
        """`(bands, clips, frames)` → `(clips, frames, bins)` complex, magnitudes and phases."""
        magnitudes = self._filterbank.magnitudes_from_mel(target.flatten(1), MAGNITUDE_UPDATES)
        magnitudes = magnitudes.T.reshape(*target.shape[1:], -1)
        stft = self._stft
        phases = phases_from_magnitudes(magnitudes, stft.hop, stft.window_length, stft.n_fft)
        return torch.polar(magnitudes, phases)

    def _with_mel(self, spectrum: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """The spectrum `(clips, frames, bins)` with gains towards `target` `(bands, frames)`."""
        real, imaginary = torch.view_as_real(spectrum).unbind(-1)
        magnitudes = torch.addcmul(real * real, imaginary, imaginary).sqrt_()  # 3 × as fast as abs
        gains = self._filterbank.gains(magnitudes.flatten(0, 1).T, target)
        return spectrum.mul_(gains.T.contiguous().view_as(spectrum))


class _Part:
    """Some columns of the clips: what they should be, and how to get them."""

    def __init__(
        self, target: torch.Tensor, stft: ReducedStft, frame_weights: torch.Tensor, chosen: slice
    ) -> None:
        self.target = target[..., chosen].flatten(1)
        self.columns: StftColumns = stft.columns(frame_weights, chosen)


def _frame_weights(target: torch.Tensor) -> torch.Tensor:
    """Inverse loudness: `(bands, clips, frames)` → `(clips, frames)` from 1 to 1 / QUIETEST."""
    loudness = target.square().sum(0).sqrt_()
    loudest = loudness.amax(1, keepdim=True).clamp_(min=torch.finfo(torch.float32).tiny)
    return 1 / (loudness / loudest + QUIETEST)
