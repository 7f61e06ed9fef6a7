"""Mel amplitudes ⇄ pixels: a power curve, eight bits, low frequencies at the bottom.

Loud means dark:

    pixel = round(255 · (1 − (amplitude / max_value) ^ power))

With `power` = 0.25 the 8 bits span 20·log10(255⁴) ≈ 192 dB. One grey level is 0.14 dB for the
loudest and 24 dB for the quietest amplitudes, roughly as the ear perceives loudness.
A mono image has equal R, G and B planes. A stereo image has left in G, right in B and 0 in R.
"""

from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from riffusion.errors import InputError, MediaError
from riffusion.io.pixel_numbers import grey_from_numbers

DEFAULT_MAX_VALUE = 30e6
"""Amplitude of black for images without a recorded maximum (upstream's value: about the loudest
mel amplitude of a full-scale 16-bit clip with the default parameters)."""

FloatArray = npt.NDArray[np.float32]
Background = Literal["white", "black"]


def image_from_spectrogram(
    spectrogram: FloatArray, power: float = 0.25, darkest: float = 1.0
) -> Image.Image:
    """Image of mel amplitudes. The absolute level is lost, and pixels are rounded to 8 bits.

    Args:
        spectrogram: (1 or 2, frequency, time) amplitudes, each at least 0. Silence becomes white.
        power: exponent from relative amplitude to darkness.
        darkest: amplitude of the loudest pixel relative to black, in [0, 1].

    Returns:
        An RGB image, `time` wide and `frequency` high.

    Raises:
        InputError: another shape, or values that are negative, infinite or NaN.
    """
    if spectrogram.ndim != 3 or spectrogram.shape[0] not in (1, 2) or 0 in spectrogram.shape:
        raise InputError(
            f"spectrogram of shape {spectrogram.shape} must be (1 or 2 channels, frequency, time)"
        )
    max_value = float(np.max(spectrogram))
    if not np.isfinite(max_value) or float(np.min(spectrogram)) < 0:
        raise InputError(
            f"spectrogram with values up to {max_value:g} must have only finite amplitudes of at "
            "least 0; clamp or replace the values"
        )
    relative = spectrogram / max_value if max_value > 0 else np.zeros_like(spectrogram)
    if darkest != 1:
        relative = relative * darkest
    pixels = np.rint(255 - 255 * np.power(relative, power)).astype(np.uint8)[:, ::-1]
    planes = [Image.fromarray(plane) for plane in pixels]
    if len(planes) == 1:
        return Image.merge("RGB", planes * 3)
    return Image.merge("RGB", [Image.new("L", planes[0].size), *planes])


def spectrogram_from_image(
    image: Image.Image,
    power: float = 0.25,
    stereo: bool = False,
    max_value: float = DEFAULT_MAX_VALUE,
) -> FloatArray:
    """Mel amplitudes of an image: the inverse of `image_from_spectrogram` except for rounding.

    Args:
        image: any mode; transparent parts count as white, which means silence.
        power: exponent that the image was made with.
        stereo: read two channels from G and B instead of one from R.
        max_value: amplitude of black pixels.

    Returns:
        (channels, frequency, time) float32.
    """
    pixels = np.asarray(rgb_image(image), dtype=np.float32)[::-1].transpose(2, 0, 1)
    relative = (255 - (pixels[1:3] if stereo else pixels[0:1])) / 255
    amplitudes: FloatArray = np.power(relative, 1 / power, dtype=np.float32) * np.float32(max_value)
    return amplitudes


def rgb_image(image: Image.Image, background: Background = "white") -> Image.Image:
    """Convert an image to RGB: with palettes applied, and numbers of other ranges scaled to 0–255.

    Args:
        image: an image of any mode. Pixels of 16 or 32 bits: see `grey_from_numbers`.
        background: what transparent parts show. White means silence; in masks, black is kept.

    Raises:
        MediaError: the image's data is damaged, or the range of its numbers is unknown.
    """
    try:
        if image.mode == "F" or image.mode.startswith("I"):  # Pillow's convert() clips at 255
            return Image.fromarray(grey_from_numbers(np.asarray(image))).convert("RGB")
        if image.has_transparency_data:
            layer = image.convert("RGBA")
            behind = Image.new("RGBA", layer.size, background)
            return Image.alpha_composite(behind, layer).convert("RGB")
        return image.convert("RGB")
    except MediaError:
        raise
    except (OSError, SyntaxError, ValueError) as error:
        raise MediaError(f"the image cannot be read: {error}; send it again undamaged") from error
