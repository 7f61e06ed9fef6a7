"""Mel powers ⇄ pixels in decibels: the spectrogram images of audio-diffusion's checkpoints.

Loud means bright, relative to the loudest band of the clip:

    level_db = 10 · log10(power / max power)
    pixel    = round(255 · (1 + level_db / top_db)), at least 0

Powers are sums of squared magnitudes over bands of equal area on Slaney's mel scale, from 0 Hz to
half the sample rate: librosa's `feature.melspectrogram` with its defaults, followed by
`power_to_db`. Row 0 is the lowest band. (Riffusion's images hold amplitudes, by a power curve, and
low frequencies are at the bottom.)
"""

from __future__ import annotations

import dataclasses
import json
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
import scipy
from numpy.lib.stride_tricks import sliding_window_view
from PIL import Image

from riffusion.audio import Waveform
from riffusion.errors import RecordedParamsError
from riffusion.spectrogram.device_operations import gpu_of, operations_on
from riffusion.spectrogram.filterbank import mel_filterbank
from riffusion.spectrogram.image import FloatArray, rgb_image
from riffusion.spectrogram.inversion.inverter import MelInverter
from riffusion.spectrogram.inversion.power_filterbank import PowerMelFilterbank

if TYPE_CHECKING:
    import torch

_SMALLEST_POWER = 1e-10
"""librosa's floor of powers before the logarithm."""


@dataclasses.dataclass(frozen=True)
class DecibelMel:
    """Frames and mel bands of an image in decibels, as `mel/mel_config.json` describes them.

    The names and defaults are audio-diffusion's. See also `MelFrames`.

    Args:
        x_res: frames per clip, the image's width.
        y_res: mel bands, the image's height.
        sample_rate: in Hz.
        n_fft: length of FFT and Hann window in samples.
        hop_length: samples from one frame to the next.
        top_db: level of black below white.
        n_iter: iterations of the phase reconstruction.

    Raises:
        RecordedParamsError: a value is not a whole number in its range, or the hop isn't shorter
            than the window.
    """

    x_res: int = 256
    y_res: int = 256
    sample_rate: int = 22050
    n_fft: int = 2048
    hop_length: int = 512
    top_db: int = 80
    n_iter: int = 32

    def __post_init__(self) -> None:
        for name, (low, high) in _RANGES.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or value % 1 != 0:
                raise RecordedParamsError(f"{name}={value!r} must be a whole number")
            if not low <= value <= high:
                raise RecordedParamsError(f"{name}={value} must be from {low} to {high}")
            object.__setattr__(self, name, int(value))
        if self.n_fft % 2 != 0:
            raise RecordedParamsError(f"n_fft={self.n_fft} must be even; 2048 is the usual value")
        if self.hop_length >= self.n_fft:
            raise RecordedParamsError(
                f"hop_length={self.hop_length} must be below n_fft={self.n_fft}, so that frames "
                "overlap; 512 and 2048 are the usual values"
            )

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a `mel_config.json`. Missing keys have the defaults; diffusers' own are ignored.

        Raises:
            RecordedParamsError: the file is missing, isn't JSON, or a value is unusable.
        """
        try:
            values = json.loads(path.read_bytes())
        except OSError as error:
            raise RecordedParamsError(f"{path} cannot be read ({error.strerror})") from error
        except ValueError as error:
            raise RecordedParamsError(f"{path} is not JSON: {error}") from error
        if not isinstance(values, dict):
            raise RecordedParamsError(f"{path} must be a JSON object")
        if values.get("_class_name", "Mel") != "Mel":
            raise RecordedParamsError(f"{path}: _class_name={values['_class_name']!r} must be Mel")
        try:
            return cls(**{name: values[name] for name in _RANGES if name in values})
        except RecordedParamsError as error:
            raise RecordedParamsError(f"{path}: {error}") from error

    @property
    def num_samples(self) -> int:
        """Length of a clip in samples."""
        return self.x_res * self.hop_length

    @property
    def win_length(self) -> int:
        return self.n_fft

    @property
    def num_frequencies(self) -> int:
        return self.y_res

    @property
    def min_frequency(self) -> float:
        return 0.0

    @property
    def max_frequency(self) -> float:
        return self.sample_rate / 2

    @property
    def mel_scale_norm(self) -> str:
        return "slaney"

    @property
    def mel_scale_type(self) -> str:
        return "slaney"

    @property
    def num_griffin_lim_iters(self) -> int:
        return self.n_iter


class DecibelImageConverter:
    """Converts between audio and images in decibels.

    Args:
        mel: frames and mel bands.
        device: device of the inverse; see `gpu_of`.
    """

    def __init__(self, mel: DecibelMel, device: str | torch.device | None = None) -> None:
        self.mel = mel
        self._gpu = gpu_of(device)

    @cached_property
    def _filterbank(self) -> FloatArray:
        return mel_filterbank(self.mel)

    @cached_property
    def _inverter(self) -> MelInverter:
        return MelInverter(self.mel, operations_on(self._gpu), PowerMelFilterbank)

    def image_from_waveform(self, waveform: Waveform) -> Image.Image:
        """Image of a clip. The absolute level and the phases are lost.

        Args:
            waveform: (1, samples) in [-1, 1] at `mel.sample_rate`, silent beyond its ends; at least
                one hop long. As in audio-diffusion, the last sample belongs to no frame.

        Returns:
            A grey image, one column per whole hop. Silence is black. (librosa's silence, for which
            the loudest band is as loud as any other, is white.)
        """
        n_fft, hop = self.mel.n_fft, self.mel.hop_length
        num_frames = waveform.shape[1] // hop
        padded = np.pad(waveform[0, : num_frames * hop - 1], n_fft // 2)
        frames = sliding_window_view(padded, n_fft)[::hop]
        turns = np.arange(n_fft) / n_fft
        window = (0.5 - 0.5 * np.cos(2 * np.pi * turns)).astype(np.float32)
        powers = np.square(np.abs(scipy.fft.rfft(frames * window))) @ self._filterbank
        if powers.max() == 0:
            return Image.new("L", (num_frames, self.mel.y_res))
        levels_db = 10 * np.log10(powers.clip(min=_SMALLEST_POWER))
        relative = 1 + (levels_db - levels_db.max()) / self.mel.top_db
        pixels = (255 * relative.clip(0, 1) + 0.5).astype(np.uint8)
        return Image.fromarray(np.ascontiguousarray(pixels.T))

    def waveform_from_image(self, image: Image.Image) -> Waveform:
        """A waveform whose image this is. Black is silence.

        Args:
            image: any mode, `mel.y_res` high.

        Returns:
            (1, width · hop) float32 at `mel.sample_rate`; its level is that of white bands of power
            1, and not limited to [-1, 1]. Equal images give equal waveforms.
        """
        pixels = np.asarray(rgb_image(image).convert("L"))
        levels_db = (pixels / 255 - 1) * self.mel.top_db
        powers = np.where(pixels > 0, 10 ** (levels_db / 10), 0)
        waveform: Waveform = self._inverter.waveform_from_mel_amplitudes(powers[None])
        return waveform


_RANGES = {
    "x_res": (1, 8192),
    "y_res": (1, 8192),
    "sample_rate": (1000, 384_000),
    "n_fft": (16, 2**16),
    "hop_length": (1, 2**16),
    "top_db": (1, 200),
    "n_iter": (0, 1000),
}
