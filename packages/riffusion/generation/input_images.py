"""Init images and masks of requests, in the form that generation and the answer need."""

import logging

from PIL import Image

from riffusion.errors import InputError, MediaError
from riffusion.generation.request_memory import decoding
from riffusion.io.data_urls import bytes_from_data_url
from riffusion.io.images import decode_image
from riffusion.spectrogram.image import rgb_image
from riffusion.spectrogram.image_conversion import convert_image
from riffusion.spectrogram.params import SpectrogramParams

logger = logging.getLogger(__name__)


def decoded_image(text: str, field_name: str) -> Image.Image:
    """The image in a request's field.

    Raises:
        MediaError: it isn't base64 or not an image, or exceeds a limit.
    """
    data = bytes_from_data_url(text, field_name)
    with decoding(field_name):
        return decode_image(data)


def rgb_init_image(image: Image.Image) -> Image.Image:
    """An image with the pixels that its audio is made from, which the answer can hold."""
    if image.mode in ("RGB", "L") and not image.has_transparency_data:
        return image
    try:
        rgb = rgb_image(image)
    except MediaError as error:
        raise MediaError(str(error), "init_image") from error
    rgb.getexif().update(image.getexif())
    return rgb


def rgb_mask(mask: Image.Image) -> Image.Image:
    """A mask as RGB, transparent parts black: they are kept."""
    try:
        rgb = rgb_image(mask, background="black")
    except MediaError as error:
        raise MediaError(str(error), "mask_image") from error
    if mask.has_transparency_data and rgb.convert("L").getextrema() == (0, 0):
        logger.warning(
            "mask_image keeps everything, as transparent and black parts are kept; "
            "draw in white what is to be repainted"
        )
    return rgb


def converted_init_image(
    image: Image.Image, own_params: SpectrogramParams, params: SpectrogramParams
) -> Image.Image:
    """An init image with the checkpoint's parameters; without EXIF it counts as having them."""
    try:
        return convert_image(image, own_params, params)
    except InputError as error:
        raise type(error)(str(error), "init_image") from error
