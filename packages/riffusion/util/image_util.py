"""For upstream's scripts: spectrogram pictures (`riffusion.spectrogram_image`) and their EXIF."""

from typing import Any

from PIL import Image

from riffusion.spectrogram_image import image_from_spectrogram, spectrogram_from_image
from riffusion.spectrogram_params import ExifTags

__all__ = ["exif_from_image", "image_from_spectrogram", "spectrogram_from_image"]


def exif_from_image(pil_image: Image.Image) -> dict[str, Any]:
    """Spectrogram parameters in a picture's EXIF by name; other people's tags are passed over."""
    exif = pil_image.getexif()
    return {tag.name: exif[tag.value] for tag in ExifTags if tag.value in exif}
