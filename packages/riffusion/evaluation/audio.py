"""Planes to audio, for metrics that listen. Real clips lose as much by it as drawn ones."""

import functools

from riffusion.audio import Waveform
from riffusion.evaluation.images import Plane, image_from_plane
from riffusion.spectrogram.image_converter import SpectrogramImageConverter
from riffusion.spectrogram.params import SpectrogramParams


def waveform_from_plane(plane: Plane, params: SpectrogramParams) -> Waveform:
    """Invert a plane: (channels, samples), at the sample rate of the parameters."""
    return _converter(params).waveform_from_spectrogram_image(image_from_plane(plane, params))


@functools.lru_cache(maxsize=2)
def _converter(params: SpectrogramParams) -> SpectrogramImageConverter:
    return SpectrogramImageConverter(params, device="cpu")
