"""Waveforms from mel amplitudes: the phases, and what the mel bands summed up, are found again."""

from __future__ import annotations

import torch

from riffusion.errors import InputError
from riffusion.mel_filterbank import MelFilterbank
from riffusion.phase_initialization import phases_from_magnitudes
from riffusion.reduced_stft import ReducedStft
from riffusion.spectrogram_params import SpectrogramParams

MAGNITUDE_UPDATES = 8
MOMENTUM = 0.9
RELAXATION = 1.2
FINAL_ITERATIONS = 2
SUBSET_HOP = 0.3
QUIETEST = 1e-4
MAX_COLUMNS = {"cpu": 512, "cuda": 16384}


class MelInverter:
    """Inverts mel spectrograms."""

    def __init__(self, params: SpectrogramParams, device: torch.device | str = "cpu") -> None:
        self.params = params
        self.device = torch.device(device)
        self._stft = ReducedStft(params, self.device)
        self._filterbank = MelFilterbank(
            params, self._stft.bin_hz, self._stft.num_bins, self.device
        )
        self._num_subsets = max(1, int(SUBSET_HOP * self._stft.window_length / self._stft.hop))

    @torch.no_grad()
    def waveform_from_mel_amplitudes(self, amplitudes_mel: torch.Tensor) -> torch.Tensor:
        """Invert `(..., num_frequencies, frames)` to `(..., frames * hop_length)` float32."""
        rows = self.params.num_frequencies
        if amplitudes_mel.ndim < 2 or amplitudes_mel.shape[-2] != rows or 0 in amplitudes_mel.shape:
            raise InputError(
                f"amplitudes_mel has shape {tuple(amplitudes_mel.shape)}; it must be "
                f"(..., {rows}, frames) with at least one frame"
            )
        amplitudes_mel = amplitudes_mel.to(self.device, torch.float32)
        if not bool(torch.isfinite(amplitudes_mel).all()) or bool((amplitudes_mel < 0).any()):
            raise InputError("amplitudes_mel holds negative, infinite or NaN values; clean it first")
        leading, num_frames = amplitudes_mel.shape[:-2], amplitudes_mel.shape[-1]
        clips = amplitudes_mel.reshape(-1, rows, num_frames)
        clips_at_once = max(1, MAX_COLUMNS.get(self.device.type, 512) // num_frames)
        waveforms = [self._invert(part) for part in clips.split(clips_at_once)]
        return torch.cat(waveforms).reshape(*leading, -1)

    def _invert(self, amplitudes: torch.Tensor) -> torch.Tensor:
        """`(clips, bands, frames)` → `(clips, frames * hop_length)`."""
        num_frames = amplitudes.shape[2]
        missing = max(0, self._stft.min_frames - num_frames)
        target = torch.cat([amplitudes, amplitudes[..., -1:].expand(-1, -1, missing)], dim=2)
        level = target.amax((1, 2)).clamp_(min=torch.finfo(torch.float32).tiny)
        target = (target / level[:, None, None]).transpose(0, 1).contiguous()
        loudness = target.norm(dim=0)
        weights = 1 / (loudness / loudness.amax(1, keepdim=True).clamp(min=1e-30) + QUIETEST)

        stft, num_subsets = self._stft, self._num_subsets
        everything = (target.flatten(1), stft.columns(weights))
        subsets = [slice(first, None, num_subsets) for first in range(num_subsets)]
        parts = [
            (target[..., chosen].flatten(1), stft.columns(weights, chosen)) for chosen in subsets
        ]
        spectrum = self._first_spectrum(target)
        shifted = previous = everything[1].waveform_from_spectrum(spectrum)
        num_iterations = self.params.num_griffin_lim_iters
        for iteration in range(num_iterations):
            is_final = iteration >= num_iterations - FINAL_ITERATIONS
            part, columns = everything if is_final else parts[iteration % num_subsets]
            spectrum = self._with_mel(columns.spectrum_from_waveform(shifted), part)
            projected = columns.waveform_from_spectrum(spectrum)
            relaxed = torch.lerp(shifted, projected, RELAXATION)
            shifted = relaxed + MOMENTUM * (relaxed - previous)
            previous = relaxed
        waveform = stft.full_rate_waveform_from_spectrum(spectrum, weights)
        return (waveform * level[:, None])[:, : num_frames * self.params.hop_length]

    def _first_spectrum(self, target: torch.Tensor) -> torch.Tensor:
        magnitudes = self._filterbank.magnitudes_from_mel(target.flatten(1), MAGNITUDE_UPDATES)
        magnitudes = magnitudes.T.contiguous().unflatten(0, target.shape[1:])
        stft = self._stft
        phases = phases_from_magnitudes(magnitudes, stft.hop, stft.window_length, stft.n_fft)
        return torch.polar(magnitudes, phases)

    def _with_mel(self, spectrum: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        parts = torch.view_as_real(spectrum)
        real, imaginary = parts[..., 0], parts[..., 1]
        magnitudes = torch.addcmul(real * real, imaginary, imaginary).sqrt_()
        gains = self._filterbank.gains(magnitudes.flatten(0, 1).T, target)
        return spectrum.mul_(gains.T.contiguous().view_as(spectrum))
