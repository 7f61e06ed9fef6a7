"""Audio ⇄ images ⇄ pixels of unconditional checkpoints, whichever kind of spectrogram they have."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import torch
from PIL import Image

from riffusion.audio import Audio, Waveform, normalize_waveform, resample, with_channels
from riffusion.errors import InputError
from riffusion.spectrogram.decibel_mel import DecibelImageConverter, DecibelMel
from riffusion.spectrogram.image import rgb_image
from riffusion.spectrogram.image_converter import SpectrogramImageConverter
from riffusion.spectrogram.params import SpectrogramParams


class ClipImages:
    """Converts between audio, images and pixels.

    Args:
        spectrogram: in decibels (audio-diffusion), or of amplitudes (Riffusion).
        num_frames: length of a clip in frames, the images' width.
        device: device of the conversion.

    Attributes:
        sample_rate: of clips, in Hz.
        num_samples: length of clips in samples.
    """

    def __init__(
        self, spectrogram: DecibelMel | SpectrogramParams, num_frames: int, device: torch.device
    ) -> None:
        self._spectrogram = spectrogram
        self._device = "cpu" if device.type == "mps" else str(device)  # no complex FFT on MPS
        self.sample_rate = spectrogram.sample_rate
        self.num_samples = num_frames * spectrogram.hop_length

    @property
    def clip_s(self) -> float:
        """Length of clips in seconds."""
        return self.num_samples / self.sample_rate

    @cached_property
    def _converter(self) -> DecibelImageConverter | SpectrogramImageConverter:
        if isinstance(self._spectrogram, DecibelMel):
            return DecibelImageConverter(self._spectrogram, self._device)
        return SpectrogramImageConverter(self._spectrogram, self._device)

    def image_of(self, audio: Audio, slice_index: int = 0, field: str = "from") -> Image.Image:
        """Spectrogram image of a part of some audio, as long as a clip.

        Args:
            audio: any sample rate and number of channels. Up to one frame may be missing at its
                end, as in audio-diffusion's own clips; it is filled with silence.
            slice_index: which part of it, in units of a clip's length.
            field: name of the audio in error messages.

        Raises:
            InputError: the audio isn't long enough, or the index is negative.
        """
        is_stereo = isinstance(self._spectrogram, SpectrogramParams) and self._spectrogram.stereo
        waveform = with_channels(audio.waveform, 2 if is_stereo else 1)
        waveform = resample(waveform, audio.sample_rate, self.sample_rate)
        num_slices = (waveform.shape[1] + self._spectrogram.hop_length) // self.num_samples
        if num_slices < 1:
            raise InputError(
                f"the audio of {audio.duration_s:.2f} s is shorter than a clip of "
                f"{self.clip_s:.2f} s; use longer audio",
                field=field,
            )
        if not 0 <= slice_index < num_slices:
            raise InputError(
                f"{slice_index} must be from 0 to {num_slices - 1}: the audio of "
                f"{audio.duration_s:.2f} s has {num_slices} parts of {self.clip_s:.2f} s",
                field="slice",
            )
        begin = slice_index * self.num_samples
        part = waveform[:, begin : begin + self.num_samples]
        part = np.pad(part, ((0, 0), (0, self.num_samples - part.shape[1])))
        if isinstance(self._converter, DecibelImageConverter):
            return self._converter.image_from_waveform(part)
        return self._converter.spectrogram_image_from_waveform(part)

    def waveform_from_image(self, image: Image.Image) -> Waveform:
        """(1 or 2, samples) of an image, at the common loudness."""
        if isinstance(self._converter, DecibelImageConverter):
            waveform = self._converter.waveform_from_image(image)
            return normalize_waveform(waveform, self.sample_rate)
        return self._converter.waveform_from_spectrogram_image(image)

    def image_from_pixels(self, pixels: torch.Tensor) -> Image.Image:
        """Pixels (1 or 3, height, width), approximately in [-1, 1] → see `finished`."""
        levels = ((pixels / 2 + 0.5).clamp(0, 1) * 255).round().to(torch.uint8)
        return self.finished(Image.fromarray(levels.expand(3, -1, -1).permute(1, 2, 0).numpy()))

    def pixels_from_image(self, image: Image.Image, num_colours: int) -> torch.Tensor:
        """An image as (1, num_colours, height, width) in [-1, 1]."""
        array = np.array(rgb_image(image).convert("L" if num_colours == 1 else "RGB"))
        levels = torch.from_numpy(array.reshape(image.height, image.width, num_colours))
        return levels.permute(2, 0, 1)[None].float() / 127.5 - 1

    def finished(self, image: Image.Image) -> Image.Image:
        """An RGB image as it is saved: grey for decibels, else with the parameters in its EXIF."""
        if isinstance(self._spectrogram, DecibelMel):
            return image.convert("L")
        exif = image.getexif()
        exif.update(self._spectrogram.to_exif())
        image.info["exif"] = exif.tobytes()
        return image


def grey_difference(image: Image.Image, other: Image.Image) -> float:
    """Mean difference of two images of one size, in grey levels."""
    first, second = (np.asarray(rgb_image(each), np.float32) for each in (image, other))
    return float(np.abs(first - second).mean())
