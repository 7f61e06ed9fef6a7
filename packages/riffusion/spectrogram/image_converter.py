"""Audio ⇄ spectrogram images with their parameters in the EXIF."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from PIL import Image

from riffusion.audio import AudioSegment, Waveform, convert, segment_from_waveform
from riffusion.errors import MissingExifError
from riffusion.spectrogram.converter import SpectrogramConverter
from riffusion.spectrogram.image import (
    DEFAULT_MAX_VALUE,
    FloatArray,
    image_from_spectrogram,
    rgb_image,
    spectrogram_from_image,
)
from riffusion.spectrogram.params import SpectrogramParams

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)


class SpectrogramImageConverter:
    """Converts between audio and spectrogram images with fixed parameters.

    Args:
        params: spectrogram parameters; `stereo` decides the number of channels.
        device: see `SpectrogramConverter`.

    Raises:
        InputError: `device` isn't the name of a supported device.
    """

    def __init__(self, params: SpectrogramParams, device: str | torch.device | None = None) -> None:
        self.p = params
        self.converter = SpectrogramConverter(params, device=device)

    @property
    def device(self) -> torch.device:
        """Device of the computation."""
        return self.converter.device

    def spectrogram_image_from_audio(self, segment: AudioSegment) -> Image.Image:
        """Image of a segment, with the parameters and the maximum amplitude in its EXIF.

        Args:
            segment: any sample rate and number of channels; mixed or copied to one or two channels
                as `params.stereo` says.

        Returns:
            As `image_from_mel_amplitudes`, one pixel column per started hop.

        Raises:
            InputError: the segment is empty.
        """
        amplitudes = self.converter.spectrogram_from_audio(self._with_channels(segment))
        return image_from_mel_amplitudes(amplitudes, self.p)

    def spectrogram_image_from_waveform(
        self, waveform: Waveform, circular: bool = False
    ) -> Image.Image:
        """Image of a waveform, with the parameters and the maximum amplitude in its EXIF.

        Args:
            waveform: (1 or 2, samples) in [-1, 1] at `params.sample_rate`; 2 if `params.stereo`.
            circular: see `SpectrogramConverter.spectrogram_from_waveform`.

        Returns:
            As `image_from_mel_amplitudes`, one pixel column per started hop.

        Raises:
            InputError: see `SpectrogramConverter.spectrogram_from_waveform`.
        """
        amplitudes = self.converter.spectrogram_from_waveform(waveform, circular)
        return image_from_mel_amplitudes(amplitudes, self.p)

    def _with_channels(self, segment: AudioSegment) -> AudioSegment:
        if self.p.stereo:
            return segment if segment.channels == 2 else convert(segment, channels=2)
        if segment.channels > 2:
            return convert(segment, channels=1)
        # pydub mixes to integer samples, as upstream Riffusion does.
        return segment.set_channels(1)

    def audio_from_spectrogram_image(
        self,
        image: Image.Image,
        apply_filters: bool = True,
        max_value: float | None = None,
        circular: bool = False,
    ) -> AudioSegment:
        """A segment whose spectrogram is the image. Equal images give equal audio.

        Args:
            image: any mode and size; resized to a height of `num_frequencies`.
            apply_filters: normalise the clip to the common loudness; otherwise keep the level that
                `max_value` gives it.
            max_value: amplitude of black; by default the one in the image's EXIF, or upstream's
                30e6 if there is none.
            circular: see `SpectrogramConverter.audio_from_spectrogram`.

        Returns:
            A 16-bit segment of `image.width` hops.

        Raises:
            MediaError: the image's data is damaged.
        """
        waveform = self.waveform_from_spectrogram_image(image, apply_filters, max_value, circular)
        return segment_from_waveform(waveform, self.p.sample_rate)

    def waveform_from_spectrogram_image(
        self,
        image: Image.Image,
        apply_filters: bool = True,
        max_value: float | None = None,
        circular: bool = False,
    ) -> Waveform:
        """As `audio_from_spectrogram_image`, but (channels, samples) float32, not rounded."""
        if max_value is None:
            recorded = SpectrogramParams.max_value_from_exif(image.getexif())
            max_value = DEFAULT_MAX_VALUE if recorded is None else recorded
        pixels = rgb_image(image)
        if pixels.height != self.p.num_frequencies:
            logger.warning(
                "the image is %d pixels high; resizing it to num_frequencies=%d",
                pixels.height,
                self.p.num_frequencies,
            )
            pixels = pixels.resize((pixels.width, self.p.num_frequencies), Image.Resampling.LANCZOS)
        spectrogram = spectrogram_from_image(
            pixels, power=self.p.power_for_image, stereo=self.p.stereo, max_value=max_value
        )
        return self.converter.waveform_from_spectrogram(spectrogram, apply_filters, circular)


def image_from_mel_amplitudes(amplitudes: FloatArray, params: SpectrogramParams) -> Image.Image:
    """Image of mel amplitudes, with the parameters and the maximum amplitude in its EXIF.

    The EXIF is also in `image.info["exif"]`, so copies and crops of the image keep it.

    Args:
        amplitudes: (1 or 2, frequency, time) amplitudes of 16-bit samples, each at least 0.
        params: parameters that the amplitudes were computed with.

    Returns:
        An RGB image, `time` wide and `frequency` high.

    Raises:
        InputError: another shape, or values that are negative, infinite or NaN.
    """
    image = image_from_spectrogram(amplitudes, power=params.power_for_image)
    exif = image.getexif()
    exif.update(params.to_exif(max_value=float(amplitudes.max())))
    image.info["exif"] = exif.tobytes()
    return image


def params_from_image(
    image: Image.Image, default: SpectrogramParams | None = None
) -> SpectrogramParams:
    """Parameters from an image's EXIF; without any, `default` (None: upstream's defaults).

    Raises:
        RecordedParamsError: the EXIF has parameters that are out of range.
    """
    exif: Mapping[int, Any] = image.getexif()
    try:
        return SpectrogramParams.from_exif(exif)
    except MissingExifError:
        return default or SpectrogramParams()
