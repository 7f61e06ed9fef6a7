"""Upstream's names for spectrogram images and their EXIF."""

from riffusion.spectrogram.image import image_from_spectrogram, spectrogram_from_image
from riffusion.spectrogram.params import exif_from_image

__all__ = ["exif_from_image", "image_from_spectrogram", "spectrogram_from_image"]
