"""Waveform ⇄ mel amplitudes."""

import numpy as np
import torch
from torch.nn.functional import pad

from riffusion.audio import (
    AudioSegment,
    Waveform,
    normalize_waveform,
    resample,
    segment_from_waveform,
    waveform_from_segment,
)
from riffusion.errors import InputError
from riffusion.runtime.devices import select_device
from riffusion.spectrogram.analysis import MelAnalysis
from riffusion.spectrogram.image import FloatArray
from riffusion.spectrogram.inversion.inverter import MelInverter
from riffusion.spectrogram.params import SpectrogramParams

FULL_SCALE = 32768.0
"""Spectrograms of an AudioSegment count amplitudes in 16-bit sample steps, as upstream does, so
that the maximum in an image's EXIF means the same in both."""

_FRAMES_PER_BLOCK = 2048
"""Columns analysed at once, which bounds the memory of a long recording."""


class SpectrogramConverter:
    """Converts between audio and mel spectrograms with fixed parameters.

    The forward transform is that of torchaudio's `Spectrogram` and `MelScale`, computed by
    `mel_analysis`. Only amplitudes are kept, since phase is too chaotic for an image model to
    learn; the way back therefore estimates both the linear spectrum and its phase
    (`spectrogram_inversion`).

    Args:
        params: how the spectrogram is made.
        device: see `select_device`; MPS falls back to the CPU, as it lacks the complex FFTs.
    """

    def __init__(self, params: SpectrogramParams, device: str | torch.device | None = None) -> None:
        self.p = params
        selected = select_device(device)
        self.device = torch.device("cpu") if selected.type == "mps" else selected
        self._analysis = MelAnalysis(params, self.device)
        self._inverter = MelInverter(params, self.device)

    def spectrogram_from_audio(self, audio: AudioSegment) -> FloatArray:
        """Mel amplitudes of a segment.

        Args:
            audio: any rate (resampled to `params.sample_rate`), any number of channels.

        Returns:
            (channels, frequency, time) float32, amplitudes of 16-bit samples. One column for each
            started step: 5.12 s give 512 columns.

        Raises:
            InputError: the segment is empty.
        """
        waveform = resample(waveform_from_segment(audio), audio.frame_rate, self.p.sample_rate)
        mel = self.mel_amplitudes_from_waveform(torch.from_numpy(waveform * FULL_SCALE))
        spectrogram: FloatArray = mel[..., : self.p.num_frames(waveform.shape[-1])].cpu().numpy()
        return spectrogram

    def audio_from_spectrogram(
        self, spectrogram: FloatArray, apply_filters: bool = True
    ) -> AudioSegment:
        """A segment that has these mel amplitudes. Lost: phase, and what the mel bands blur.

        Args:
            spectrogram: (channels, frequency, time) amplitudes of 16-bit samples.
            apply_filters: bring the clip to a common loudness; else its level is kept, unless it
                would clip.

        Returns:
            A 16-bit segment of `time` steps: 512 columns of 10 ms last exactly 5.12 s.
        """
        waveform = self.waveform_from_spectrogram(spectrogram, apply_filters)
        return segment_from_waveform(waveform, self.p.sample_rate)

    def waveform_from_spectrogram(
        self, spectrogram: FloatArray, apply_filters: bool = True
    ) -> Waveform:
        """As `audio_from_spectrogram`, but (channels, samples) float32, not rounded to 16 bits."""
        amplitudes = torch.from_numpy(np.ascontiguousarray(spectrogram)) / FULL_SCALE
        waveform: Waveform = self.waveform_from_mel_amplitudes(amplitudes).cpu().numpy()
        if apply_filters:
            return normalize_waveform(waveform, self.p.sample_rate)
        return waveform / max(float(np.abs(waveform).max()), 1.0)

    def mel_amplitudes_from_waveform(self, waveform: torch.Tensor) -> torch.Tensor:
        """Mel amplitudes, equal to torchaudio's `Spectrogram` (centred, reflected) and `MelScale`.

        Args:
            waveform: (…, samples), any real type.

        Returns:
            (…, frequency, 1 + samples // hop_length) float32 on the converter's device.

        Raises:
            InputError: no samples at all.
        """
        num_samples = waveform.shape[-1]
        if num_samples == 0:
            raise InputError("the audio holds no samples; at least one is needed")
        half = self.p.n_fft // 2
        signal = waveform.to(self.device, torch.float32).reshape(-1, num_samples)
        if num_samples <= half:  # too short to be reflected
            signal = pad(signal, (0, half + 1 - num_samples))
        signal = pad(signal, (half, half), mode="reflect")
        margin = self._analysis.margin
        signal = pad(signal, (margin, margin), mode="reflect")
        num_frames = 1 + num_samples // self.p.hop_length
        blocks = []
        for first in range(0, num_frames, _FRAMES_PER_BLOCK):
            last = min(first + _FRAMES_PER_BLOCK, num_frames) - 1
            start = first * self.p.hop_length
            stop = last * self.p.hop_length + self.p.n_fft + 2 * margin
            blocks.append(self._analysis(signal[:, start:stop]))
        return torch.cat(blocks, dim=-1).reshape(*waveform.shape[:-1], -1, num_frames)

    def waveform_from_mel_amplitudes(self, amplitudes_mel: torch.Tensor) -> torch.Tensor:
        """A waveform that has these mel amplitudes. The same amplitudes give the same waveform.

        Args:
            amplitudes_mel: (…, frequency, time), at least 0.

        Returns:
            (…, time · hop_length) float32 on the converter's device.

        Raises:
            InputError: the amplitudes are negative, infinite or NaN, or not `num_frequencies` high.
        """
        return self._inverter.waveform_from_mel_amplitudes(amplitudes_mel.to(self.device))
