"""Pictures ⇄ bytes, with limits on what is decoded and EXIF kept."""

import io
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from riffusion.datatypes import ImageFormat
from riffusion.errors import InputError, MediaError

MAX_WIDTH = 6000
"""One minute of columns of 10 ms."""
MAX_HEIGHT = 4096
MEDIA_TYPES: dict[ImageFormat, str] = {
    "jpeg": "image/jpeg",
    "png": "image/png",
    "webp": "image/webp",
}

_DECODERS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
_ENCODER_OPTIONS: dict[ImageFormat, dict[str, object]] = {
    # Full colour resolution: stereo pictures keep one channel in G and the other in B.
    "jpeg": {"quality": 95, "subsampling": 0},
    "png": {},
    "webp": {"lossless": True},
}
_EXTENSIONS: dict[str, ImageFormat] = {
    ".jpg": "jpeg",
    ".jpeg": "jpeg",
    ".png": "png",
    ".webp": "webp",
}


def decode_image(
    data: bytes, max_width: int = MAX_WIDTH, max_height: int = MAX_HEIGHT
) -> Image.Image:
    """The picture in `data`, decoded in full, with its EXIF.

    The size is checked in the header, before any pixel is decoded.

    Raises:
        MediaError: not a picture of a known format, damaged, or larger than the limits.
    """
    try:
        image = Image.open(io.BytesIO(data), formats=_DECODERS)
    except UnidentifiedImageError as error:
        raise MediaError(f"is no picture; send one of {', '.join(_DECODERS)}") from error
    except Exception as error:  # Pillow's parsers raise all sorts on hostile headers
        raise MediaError(
            f"the picture cannot be read ({error}); send it again undamaged"
        ) from error
    if image.width > max_width or image.height > max_height:
        raise MediaError(
            f"the picture is {image.width}×{image.height} pixels; "
            f"at most {max_width}×{max_height} are allowed"
        )
    try:
        image.load()
        image.getexif()
    except Exception as error:
        raise MediaError(f"the picture is damaged ({error}); send it again undamaged") from error
    return image


def encode_image(image: Image.Image, image_format: ImageFormat) -> bytes:
    """A picture as bytes, its EXIF included. JPEG loses up to a few grey levels."""
    buffer = io.BytesIO()
    image.convert("RGB").save(
        buffer, image_format, exif=image.getexif(), **_ENCODER_OPTIONS[image_format]
    )
    return buffer.getvalue()


def read_image(path: Path, max_width: int = 2**20, max_height: int = MAX_HEIGHT) -> Image.Image:
    """The picture in a file.

    Raises:
        InputError: the file can't be read.
        MediaError: it is not a picture, damaged, or larger than the limits.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    try:
        return decode_image(data, max_width, max_height)
    except MediaError as error:
        raise MediaError(f"{path}: {error}") from error


def image_format_from_path(path: Path) -> ImageFormat:
    """Format that a file's extension stands for.

    Raises:
        InputError: an unknown extension.
    """
    try:
        return _EXTENSIONS[path.suffix.lower()]
    except KeyError:
        known = ", ".join(_EXTENSIONS)
        raise InputError(f"{path} must end in one of {known}, not in {path.suffix!r}") from None


def write_image(image: Image.Image, path: Path) -> None:
    """Write a picture in the format of the path's extension, its EXIF included.

    Raises:
        InputError: an unknown extension, or the file can't be written.
    """
    data = encode_image(image, image_format_from_path(path))
    try:
        path.write_bytes(data)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}") from error
