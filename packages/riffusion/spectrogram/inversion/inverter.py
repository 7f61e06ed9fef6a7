"""Mel amplitudes → waveform: estimates the phases, and the magnitudes inside the mel bands."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from riffusion.errors import InputError
from riffusion.spectrogram.inversion.filterbank import MelFilterbank
from riffusion.spectrogram.inversion.initial_phase import phases_from_magnitudes
from riffusion.spectrogram.inversion.reduced_stft import ReducedStft, StftFrames
from riffusion.spectrogram.mel_frames import MelFrames

MAGNITUDE_UPDATES = 4
"""Updates of the initial magnitudes; eight end no better, with two or less tones lose level."""
RELAXATION = 1.2
"""Length of a step relative to the projection; the iteration diverges from 1.4 on."""
MOMENTUM = 0.9
"""Share of the last step that is added to the next; 0.8 and 1.0 converge more slowly."""
SUBSET_HOP = 0.3
"""Longest distance of a subset's frames, in windows; at 0.4 the subsets are inconsistent."""
PASSES_PER_ITERATION = 1.5
"""Passes over a subset per iteration of `num_griffin_lim_iters`: half the work of full passes."""
FINAL_PASSES = 4
"""Last passes, which use all frames at once so that every frame counts equally."""
QUIETEST = 3e-3
"""Loudness below which frames have equal weights, relative to the clip's loudest frame: -50 dB."""
FRAMES_AT_ONCE = {"cpu": 512, "cuda": 16384}
"""Frames that are inverted together: they fit a processor's cache, or keep a GPU busy."""


@dataclass(frozen=True)
class KnownSamples:
    """Samples of the waveform that are known already, such as those beside a section that is made.

    Args:
        waveform: `(..., frames * hop_length)` float32 at the parameters' sample rate. Its samples
            count only where they are known, but those beside them should not jump there.
        is_known: whether each sample is known, `(frames * hop_length,)` bool.
    """

    waveform: torch.Tensor
    is_known: torch.Tensor


class MelInverter:
    """Finds waveforms that have given mel spectrograms.

    Let S be the short-time Fourier transform, and B the sum of its magnitudes over mel bands. For
    mel amplitudes M we want x with B · |S x| = M. The method of Griffin and Lim knows |S x|, and
    projects in turn onto the spectra with these magnitudes and onto the spectra of waveforms. Here
    only sums of magnitudes are known, and errors of magnitudes fixed to a first estimate would
    remain. So the first projection changes the magnitudes only as far as the bands require: each
    bin keeps its phase and gets the mean gain M / (B · |S x|) of its bands
    (`MelFilterbank.gains`). The overlap of neighbouring frames then determines the fine structure
    inside a band. With

        P x = S⁻¹ (gains(|S x|, M) · S x)

    and relaxation γ and momentum α the iteration is that of accelerated Griffin-Lim (Perraudin,
    Balazs and Søndergaard, "A fast Griffin-Lim algorithm", 2013, for γ = 1; Nenov, Nguyen, Balazs
    and Boţ, "Faster than fast: accelerating the Griffin-Lim algorithm", 2023, for its α = β):

        sₙ = (1 - γ) tₙ₋₁ + γ P tₙ₋₁
        tₙ = sₙ + α (sₙ - sₙ₋₁)

    S and S⁻¹ are linear, so s and t can be kept as waveforms, which are 20 times smaller than
    spectra. Four things make it fast:

    - S runs at the lowest sample rate that contains the bands, with an FFT of two windows
      (`ReducedStft`);
    - the initial phases are estimated from the spectrogram's peaks (`phases_from_magnitudes`);
    - frames overlap by 90 %, so a third of them determines x. Each pass uses every third frame, and
      the next pass uses the frames beside these: the same number of passes at a third of the cost
      (ordered subsets, Hudson and Larkin, "Accelerated image reconstruction", 1994, section II);
    - S⁻¹ weights each frame's error by the inverse of the frame's loudness. Errors are thus
      relative, and an attack doesn't leak into the silence before it, where it would be audible.

    Known samples are put back after each pass: another projection. What is made beside them then
    continues their phases, so a join with them has neither a click nor a notch.

    Nothing is random: equal amplitudes give equal waveforms.

    Args:
        params: spectrogram parameters; `num_griffin_lim_iters` trades time for quality.
        device: device of the computation.
        filterbank: `PowerMelFilterbank` for mel powers in place of mel amplitudes.
    """

    def __init__(
        self,
        params: MelFrames,
        device: torch.device | str = "cpu",
        filterbank: type[MelFilterbank] = MelFilterbank,
    ) -> None:
        self.params = params
        self.device = torch.device(device)
        self._stft = stft = ReducedStft(params, self.device)
        self._filterbank = filterbank(params, stft.bin_hz, stft.num_bins, self.device)
        self._num_subsets = max(1, int(SUBSET_HOP * stft.window_length / stft.hop))

    @torch.no_grad()
    def waveform_from_mel_amplitudes(
        self, amplitudes_mel: torch.Tensor, known: KnownSamples | None = None
    ) -> torch.Tensor:
        """Invert mel spectrograms, with all leading dimensions as one batch.

        The waveform's mel spectrogram has the level of `amplitudes_mel`. The absolute phase and the
        detail inside bands and windows are lost. A spectrogram shorter than the window is inverted
        as if its last frame were repeated.

        Args:
            amplitudes_mel: `(..., num_frequencies, frames)` of any floating-point type, each at
                least 0.
            known: samples that the waveforms are to have, up to the error of the last pass.

        Returns:
            `(..., frames * hop_length)` float32, not limited to [-1, 1].

        Raises:
            InputError: another shape, or an amplitude that is negative, infinite or NaN.
        """
        num_bands = self.params.num_frequencies
        shape = tuple(amplitudes_mel.shape)
        if len(shape) < 2 or shape[-2] != num_bands or 0 in shape:
            raise InputError(
                f"amplitudes_mel.shape={shape} must be (..., {num_bands}, frames) with at least "
                "one frame; num_frequencies in the spectrogram parameters is the number of bands"
            )
        clips = amplitudes_mel.to(self.device, torch.float32).reshape(-1, num_bands, shape[-1])
        lowest, highest = (value.item() for value in torch.aminmax(clips))
        if not (lowest >= 0 and highest < float("inf")):  # NaN fails both
            raise InputError(
                f"amplitudes_mel from {lowest} to {highest} must be finite float32 and at least 0; "
                "clamp or replace the values"
            )
        clips_at_once = max(1, FRAMES_AT_ONCE.get(self.device.type, 512) // shape[-1])
        parts = torch.split(clips, clips_at_once)
        pinned: Sequence[_Pinned | None] = [None] * len(parts)
        if known is not None:
            pinned = self._pinned(known, len(clips), shape[-1], clips_at_once)
        waveforms = [self._invert(*both) for both in zip(parts, pinned, strict=True)]
        return torch.cat(waveforms).reshape(*shape[:-2], shape[-1] * self.params.hop_length)

    def _pinned(
        self, known: KnownSamples, num_clips: int, num_frames: int, clips_at_once: int
    ) -> list[_Pinned | None]:
        """Known samples at the reduced rate, for each part of the clips.

        Raises:
            InputError: a shape that doesn't belong to the amplitudes.
        """
        num_samples = num_frames * self.params.hop_length
        waveform = known.waveform.to(self.device, torch.float32)
        if waveform.shape[-1:] != (num_samples,) or known.is_known.shape != (num_samples,):
            raise InputError(
                f"known samples of shapes {tuple(waveform.shape)} and "
                f"{tuple(known.is_known.shape)} must be (..., {num_samples}) and ({num_samples},), "
                "as long as the amplitudes"
            )
        missing = max(0, self._stft.min_frames - num_frames)
        padding = (0, missing * self.params.hop_length)
        padded = torch.nn.functional.pad(waveform.reshape(num_clips, -1), padding)
        is_known = torch.nn.functional.pad(known.is_known.to(self.device), padding)
        reduced, mask = self._stft.reduced(padded), self._stft.reduced_mask(is_known)
        return [_Pinned(part, mask) for part in torch.split(reduced, clips_at_once)]

    def _invert(self, amplitudes: torch.Tensor, pinned: _Pinned | None = None) -> torch.Tensor:
        """Invert some clips: `(clips, bands, frames)` → `(clips, frames * hop_length)`."""
        num_frames = amplitudes.shape[2]
        missing = max(0, self._stft.min_frames - num_frames)
        amplitudes = torch.cat([amplitudes, amplitudes[..., -1:].expand(-1, -1, missing)], dim=2)
        level = amplitudes.amax((1, 2)).clamp_(min=torch.finfo(torch.float32).tiny)
        target = (amplitudes / level[:, None, None]).transpose(0, 1).contiguous()
        frame_weights = _frame_weights(target)
        pin = (lambda waveform: waveform) if pinned is None else pinned.scaled(1 / level)

        spectrum = self._initial_spectrum(target)
        all_frames = _FrameSubset(target, self._stft, frame_weights, slice(None))
        subsets = [
            _FrameSubset(target, self._stft, frame_weights, slice(first, None, self._num_subsets))
            for first in range(self._num_subsets)
        ]
        estimate = last = pin(all_frames.frames.waveform_from_spectrum(spectrum))
        num_passes = round(PASSES_PER_ITERATION * self.params.num_griffin_lim_iters)
        for index in range(num_passes):
            is_final = index >= num_passes - FINAL_PASSES
            subset = all_frames if is_final else subsets[index % self._num_subsets]
            spectrum = subset.frames.spectrum_from_waveform(estimate)
            spectrum = self._with_gains(spectrum, subset.target)
            if index == num_passes - 1:
                break  # the waveform is made of this spectrum, at the full rate
            projection = subset.frames.waveform_from_spectrum(spectrum)
            step = pin(torch.lerp(estimate, projection, RELAXATION))
            estimate, last = torch.lerp(last, step, 1 + MOMENTUM), step
        waveform = self._stft.full_rate_waveform_from_spectrum(spectrum, frame_weights)
        return waveform[:, : num_frames * self.params.hop_length] * level[:, None]

    def _initial_spectrum(self, target: torch.Tensor) -> torch.Tensor:
        """First estimate: `(bands, clips, frames)` → `(clips, frames, bins)` complex."""
        magnitudes = self._filterbank.magnitudes_from_mel(target.flatten(1), MAGNITUDE_UPDATES)
        magnitudes = magnitudes.T.reshape(*target.shape[1:], -1)
        stft = self._stft
        phases = phases_from_magnitudes(magnitudes, stft.hop, stft.window_length, stft.n_fft)
        # Half of the time of torch.polar, whose sines aren't vectorised.
        return torch.complex(magnitudes * phases.cos(), magnitudes * phases.sin())

    def _with_gains(self, spectrum: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Apply gains towards `target` `(bands, frames)` to a spectrum `(clips, frames, bins)`."""
        real, imaginary = torch.view_as_real(spectrum).square().unbind(-1)
        magnitudes = torch.add(real, imaginary).sqrt_()  # 4 × as fast as abs
        gains = self._filterbank.gains(magnitudes.flatten(0, 1).T, target)
        return spectrum.mul_(gains.T.contiguous().view_as(spectrum))


class _Pinned:
    """Known samples of some clips at the reduced rate.

    Args:
        waveform: (clips, samples).
        is_known: (samples,) bool.
    """

    def __init__(self, waveform: torch.Tensor, is_known: torch.Tensor) -> None:
        self._waveform = waveform
        self._is_known = is_known

    def scaled(self, factor: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
        """A function that puts them back, times a factor for each clip, into waveforms."""
        scaled = self._waveform * factor[:, None]
        return lambda waveform: torch.where(self._is_known, scaled, waveform)


class _FrameSubset:
    """Some frames of the clips: their target mel amplitudes and their transform."""

    def __init__(
        self, target: torch.Tensor, stft: ReducedStft, frame_weights: torch.Tensor, chosen: slice
    ) -> None:
        self.target = target[..., chosen].flatten(1)
        self.frames: StftFrames = stft.frames(frame_weights, chosen)


def _frame_weights(target: torch.Tensor) -> torch.Tensor:
    """Inverse relative loudness: `(bands, clips, frames)` → `(clips, frames)`, about 1 to 333."""
    loudness = target.square().sum(0).sqrt_()
    loudest = loudness.amax(1, keepdim=True).clamp_(min=torch.finfo(torch.float32).tiny)
    return 1 / (loudness / loudest + QUIETEST)
