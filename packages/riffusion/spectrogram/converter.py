"""Waveform ⇄ mel amplitudes.

Both ways are computed in NumPy and need no PyTorch, except on a GPU, where tensors are, or for
gradients.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from riffusion.audio import (
    AudioSegment,
    Waveform,
    normalize_waveform,
    resample,
    segment_from_waveform,
    waveform_from_segment,
)
from riffusion.errors import InputError
from riffusion.spectrogram.analysis import MelAnalysis
from riffusion.spectrogram.device_operations import gpu_of, operations_on
from riffusion.spectrogram.image import FloatArray
from riffusion.spectrogram.inversion.inverter import KnownSamples, MelInverter
from riffusion.spectrogram.inversion.loop_joint import continues_at_start, with_smooth_joint
from riffusion.spectrogram.operations import Array, Operations
from riffusion.spectrogram.params import SpectrogramParams

if TYPE_CHECKING:
    import torch

FULL_SCALE = 32768.0
"""Spectrograms for images are in units of 16-bit sample steps, as in upstream Riffusion, so that
the maximum in an image's EXIF has the same meaning in both."""


class SpectrogramConverter:
    """Converts between audio and mel spectrograms with fixed parameters.

    The forward transform equals torchaudio's `Spectrogram` and `MelScale`; `MelAnalysis` computes
    it. It keeps only amplitudes, because phases are too irregular for an image model to learn. The
    inverse (`MelInverter`) therefore estimates both the linear spectrum and its phases.

    Args:
        params: spectrogram parameters.
        device: see `select_device`; MPS falls back to the CPU, because it has no complex FFT. None
            is the CPU, where a clip takes less time than the import of PyTorch.

    Raises:
        InputError: `device` isn't the name of a supported device.
    """

    def __init__(self, params: SpectrogramParams, device: str | torch.device | None = None) -> None:
        self.p = params
        self._gpu = gpu_of(device)

    @property
    def device(self) -> torch.device:
        """Device of the computation, and of tensors that are results."""
        import torch

        return torch.device("cpu") if self._gpu is None else self._gpu

    @cached_property
    def _operations(self) -> Operations:
        return operations_on(self._gpu)

    @cached_property
    def _analysis(self) -> MelAnalysis:
        return MelAnalysis(self.p, self._operations)

    @cached_property
    def _analysis_with_gradients(self) -> MelAnalysis:
        from riffusion.spectrogram.torch_operations import TorchOperations

        return MelAnalysis(self.p, TorchOperations(self.device))

    @cached_property
    def _inverter(self) -> MelInverter:
        return MelInverter(self.p, self._operations)

    def spectrogram_from_audio(self, audio: AudioSegment) -> FloatArray:
        """Mel amplitudes of a segment.

        Args:
            audio: any sample rate (resampled to `params.sample_rate`), any number of channels.

        Returns:
            As `spectrogram_from_waveform`.

        Raises:
            InputError: the segment is empty.
        """
        waveform = resample(waveform_from_segment(audio), audio.frame_rate, self.p.sample_rate)
        return self.spectrogram_from_waveform(waveform)

    def spectrogram_from_waveform(self, waveform: Waveform, circular: bool = False) -> FloatArray:
        """Mel amplitudes of a waveform, in 16-bit units.

        Args:
            waveform: (channels, samples) in [-1, 1] at `params.sample_rate`.
            circular: whether the waveform is a seamless loop. The spectrogram is then that of the
                endless repetition, so that the image's right edge continues at its left edge.

        Returns:
            (channels, frequency, time) float32, amplitudes of 16-bit samples. One frame per
            started hop: 5.12 s give 512 frames.

        Raises:
            InputError: there are no samples, or `circular` and `samples` isn't a multiple of the
                hop.
        """
        num_frames = self.p.num_frames(waveform.shape[-1])
        first = 0
        if circular and waveform.shape[-1] > 0:
            waveform, first = self._repeated_at_ends(waveform)
        _check_samples(waveform.shape[-1])
        scaled = np.asarray(waveform * FULL_SCALE, np.float32)
        mel = self._operations.as_given(self._analysis(self._operations.floats(scaled)), scaled)
        return np.ascontiguousarray(mel[..., first : first + num_frames])

    def _repeated_at_ends(self, loop: Waveform) -> tuple[Waveform, int]:
        """A loop with enough of its repetitions around it, and the loop's first frame in these."""
        hop, num_samples = self.p.hop_length, loop.shape[-1]
        if num_samples % hop != 0:
            raise InputError(
                f"a loop of {num_samples} samples must be a multiple of hop_length={hop}; "
                "cut or fill it to whole frames"
            )
        margin_frames = self.p.n_fft // (2 * hop) + 1  # half an FFT extends before and after
        positions = np.arange(-margin_frames * hop, num_samples + margin_frames * hop)
        return np.take(loop, positions, axis=-1, mode="wrap"), margin_frames

    def audio_from_spectrogram(
        self, spectrogram: FloatArray, apply_filters: bool = True, circular: bool = False
    ) -> AudioSegment:
        """A segment that has these mel amplitudes. Phases and detail inside mel bands are lost.

        Args:
            spectrogram: (channels, frequency, time) amplitudes of 16-bit samples.
            apply_filters: normalise the clip to the common loudness. Otherwise its level is kept,
                and reduced only if the clip would exceed full scale.
            circular: whether the clip will be repeated, as a loop. Its end is then followed by its
                start without a click.

        Returns:
            A 16-bit segment of `time` hops: 512 frames of 10 ms last exactly 5.12 s.
        """
        waveform = self.waveform_from_spectrogram(spectrogram, apply_filters, circular)
        return segment_from_waveform(waveform, self.p.sample_rate)

    def waveform_from_spectrogram(
        self, spectrogram: FloatArray, apply_filters: bool = True, circular: bool = False
    ) -> Waveform:
        """As `audio_from_spectrogram`, but (channels, samples) float32, not rounded to 16 bits."""
        scaled = np.asarray(spectrogram, np.float32) / np.float32(FULL_SCALE)
        is_long_enough = scaled.shape[-1] >= self._inverter.shortest_loop
        continues = circular and is_long_enough and continues_at_start(scaled)
        waveform: Waveform = self.waveform_from_mel_amplitudes(scaled, circular=continues)
        if circular and not continues:
            waveform = with_smooth_joint(waveform, self.p.sample_rate)
        if apply_filters:
            return normalize_waveform(waveform, self.p.sample_rate, circular=circular)
        return waveform / max(float(np.abs(waveform).max()), 1.0)

    def mel_amplitudes_from_waveform(self, waveform: Array) -> Array:
        """Mel amplitudes, equal to torchaudio's `Spectrogram` (centred, reflected) and `MelScale`.

        Args:
            waveform: (…, samples) of any real type, an array or a tensor.

        Returns:
            (…, frequency, 1 + samples // hop_length) float32: an array for an array, and for a
            tensor a tensor on the converter's device.

        Raises:
            InputError: there are no samples.
        """
        _check_samples(waveform.shape[-1])
        needs_gradients = getattr(waveform, "requires_grad", False)
        analysis = self._analysis_with_gradients if needs_gradients else self._analysis
        operations = analysis.operations
        signal = operations.floats(waveform).reshape(-1, waveform.shape[-1])
        mel = operations.as_given(analysis(signal), waveform)
        return mel.reshape(*waveform.shape[:-1], *mel.shape[1:])

    def waveform_from_mel_amplitudes(
        self, amplitudes_mel: Array, known: KnownSamples | None = None, circular: bool = False
    ) -> Array:
        """A waveform that has these mel amplitudes. Equal amplitudes give equal waveforms.

        Args:
            amplitudes_mel: (…, frequency, time), each at least 0; an array or a tensor.
            known: samples that the waveform is to have.
            circular: whether these are the amplitudes of an endless repetition, as in
                `spectrogram_from_waveform`. The waveform then repeats without a seam.

        Returns:
            (…, time · hop_length) float32: an array for an array, and for a tensor a tensor on the
            converter's device.

        Raises:
            InputError: an amplitude is negative, infinite or NaN, or there aren't
                `num_frequencies` mel bands.
        """
        return self._inverter.waveform_from_mel_amplitudes(amplitudes_mel, known, circular)


def _check_samples(num_samples: int) -> None:
    if num_samples == 0:
        raise InputError("the audio has no samples; at least one is needed")
