"""Audio ⇄ spectrogram image."""

import logging
from collections.abc import Mapping
from typing import Any

import torch
from PIL import Image

from riffusion.audio import AudioSegment, Waveform, convert, segment_from_waveform
from riffusion.errors import MissingExifError
from riffusion.spectrogram.converter import SpectrogramConverter
from riffusion.spectrogram.image import (
    DEFAULT_MAX_VALUE,
    image_from_spectrogram,
    rgb_image,
    spectrogram_from_image,
)
from riffusion.spectrogram.params import SpectrogramParams

logger = logging.getLogger(__name__)


class SpectrogramImageConverter:
    """Converts between audio and spectrogram images with fixed parameters.

    Args:
        params: how the image is made; its `stereo` decides the number of channels.
        device: see `select_device`.
    """

    def __init__(self, params: SpectrogramParams, device: str | torch.device | None = None) -> None:
        self.p = params
        self.converter = SpectrogramConverter(params, device=device)
        self.device = self.converter.device

    def spectrogram_image_from_audio(self, segment: AudioSegment) -> Image.Image:
        """Image of a segment, with the parameters and the maximum amplitude in its EXIF.

        Args:
            segment: any rate and number of channels; mixed down or doubled to fit `params.stereo`.

        Returns:
            RGB image, one column for each started step, `num_frequencies` high.

        Raises:
            InputError: the segment is empty.
        """
        spectrogram = self.converter.spectrogram_from_audio(self._with_channels(segment))
        image = image_from_spectrogram(spectrogram, power=self.p.power_for_image)
        image.getexif().update(self.p.to_exif(max_value=float(spectrogram.max())))
        return image

    def _with_channels(self, segment: AudioSegment) -> AudioSegment:
        if self.p.stereo:
            return segment if segment.channels == 2 else convert(segment, channels=2)
        # pydub's own mix-down rounds to whole samples, as upstream's images were made.
        return segment.set_channels(1)

    def audio_from_spectrogram_image(
        self,
        image: Image.Image,
        apply_filters: bool = True,
        max_value: float | None = None,
    ) -> AudioSegment:
        """A segment that looks like the image. The same image gives the same audio.

        Args:
            image: any mode and size; another height than `num_frequencies` is resized to it.
            apply_filters: bring the clip to a common loudness, else to the recorded level.
            max_value: amplitude of black; default the image's EXIF, else upstream's 30e6.

        Returns:
            A 16-bit segment of `image.width` steps.

        Raises:
            MediaError: the image's data is damaged.
        """
        waveform = self.waveform_from_spectrogram_image(image, apply_filters, max_value)
        return segment_from_waveform(waveform, self.p.sample_rate)

    def waveform_from_spectrogram_image(
        self,
        image: Image.Image,
        apply_filters: bool = True,
        max_value: float | None = None,
    ) -> Waveform:
        """As `audio_from_spectrogram_image`, but (channels, samples) float32, not rounded."""
        if max_value is None:
            recorded = SpectrogramParams.max_value_from_exif(image.getexif())
            max_value = DEFAULT_MAX_VALUE if recorded is None else recorded
        pixels = rgb_image(image)
        if pixels.height != self.p.num_frequencies:
            logger.warning(
                "image is %d pixels high, resizing to num_frequencies=%d",
                pixels.height,
                self.p.num_frequencies,
            )
            pixels = pixels.resize((pixels.width, self.p.num_frequencies), Image.Resampling.LANCZOS)
        spectrogram = spectrogram_from_image(
            pixels, power=self.p.power_for_image, stereo=self.p.stereo, max_value=max_value
        )
        return self.converter.waveform_from_spectrogram(spectrogram, apply_filters)


def params_from_image(
    image: Image.Image, default: SpectrogramParams | None = None
) -> SpectrogramParams:
    """Parameters in an image's EXIF, else `default` (upstream's defaults if None).

    Raises:
        SpectrogramParamsError: the EXIF holds parameters that are not allowed.
    """
    exif: Mapping[int, Any] = image.getexif()
    try:
        return SpectrogramParams.from_exif(exif)
    except MissingExifError:
        return default or SpectrogramParams()
