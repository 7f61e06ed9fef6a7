"""Images ⇄ bytes, with limits on what is decoded and EXIF kept."""

import io
import struct
from pathlib import Path

from PIL import Image, ImageFile

from riffusion.datatypes import ImageFormat
from riffusion.errors import InputError, MediaError
from riffusion.io.files import check_readable, write_file

MAX_WIDTH = 6000
"""One minute of columns of 10 ms."""
MAX_HEIGHT = 8192
"""Most mel bands that `SpectrogramParams` allows."""
MAX_FILE_WIDTH = 2**20
"""Of an image file: nearly three hours of columns of 10 ms."""
MAX_FILE_PIXELS = 2**29
"""Of an image file: as wide as allowed and 512 high, 1.5 GiB of memory."""
MAX_FILE_BYTES = 2**31
"""Of an image file: 2 GiB."""
MEDIA_TYPES: dict[ImageFormat, str] = {
    "jpeg": "image/jpeg",
    "png": "image/png",
    "webp": "image/webp",
}

_DECODERS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
_ENCODER_OPTIONS: dict[ImageFormat, dict[str, object]] = {
    # Full colour resolution: stereo images keep one channel in G and the other in B.
    "jpeg": {"quality": 95, "subsampling": 0},
    "png": {},
    "webp": {"lossless": True},
}
_MAX_SIDES: dict[ImageFormat, int] = {"jpeg": 65_500, "png": MAX_FILE_WIDTH, "webp": 16_383}
"""Pixels of either side that libjpeg and libwebp encode; a wider PNG could not be read again."""
_EXTENSIONS: dict[str, ImageFormat] = {
    ".jpg": "jpeg",
    ".jpeg": "jpeg",
    ".png": "png",
    ".webp": "webp",
}


def decode_image(
    data: bytes,
    max_width: int = MAX_WIDTH,
    max_height: int = MAX_HEIGHT,
    max_pixels: int = MAX_WIDTH * MAX_HEIGHT,
) -> Image.Image:
    """The image in `data`, decoded in full, with its EXIF.

    The size is checked in the header, before any pixel is decoded.

    Raises:
        MediaError: not an image of a known format, damaged, or larger than the limits.
    """
    image = _opened(data)
    if image.width > max_width or image.height > max_height:
        raise MediaError(
            f"the image is {image.width}×{image.height} pixels; "
            f"at most {max_width}×{max_height} are allowed"
        )
    if image.width * image.height > max_pixels:
        raise MediaError(
            f"the image is {image.width}×{image.height} pixels; "
            f"at most {max_pixels} in all are allowed"
        )
    try:
        image.load()
        image.getexif()
    except Exception as error:
        raise MediaError(f"the image is damaged ({error}); send it again undamaged") from error
    return image


def _opened(data: bytes) -> ImageFile.ImageFile:
    """The image in `data` with its header read.

    `Image.open` would do, if it didn't apply `Image.MAX_IMAGE_PIXELS`, a limit of the whole process
    that is a sixth of ours, by way of a warning on stderr. Only Pillow's WebP parser still does, at
    twice that limit, which is more than WebP images of at most `MAX_HEIGHT` rows have.
    """
    Image.init()
    for name in _DECODERS:
        factory, accepts = Image.OPEN[name]
        try:
            if accepts is None or accepts(data[:16]) is True:
                return factory(io.BytesIO(data), "")
        except (SyntaxError, IndexError, TypeError, struct.error):
            continue  # how Pillow's parsers say that it isn't theirs
        except Exception as error:  # they raise all sorts on hostile headers
            raise MediaError(
                f"the image cannot be read ({error}); send it again undamaged"
            ) from error
    raise MediaError(f"is no image; send one of {', '.join(_DECODERS)}")


def encode_image(image: Image.Image, image_format: ImageFormat) -> bytes:
    """An image as bytes, its EXIF included. JPEG loses up to a few grey levels.

    Raises:
        InputError: the image is wider or higher than the format can hold.
    """
    limit = _MAX_SIDES[image_format]
    if max(image.size) > limit:
        columns_or_rows = "columns" if image.width > limit else "rows"
        remedy = "draw less at a time" if image_format == "png" else "use png"
        raise InputError(
            f"image is {image.width}×{image.height}; "
            f"{image_format} holds at most {limit} {columns_or_rows}; {remedy}"
        )
    if image.width * image.height > MAX_FILE_PIXELS:
        raise InputError(
            f"image is {image.width}×{image.height}; at most {MAX_FILE_PIXELS} pixels in all "
            "can be read again; draw less at a time"
        )
    buffer = io.BytesIO()
    image.convert("RGB").save(
        buffer, image_format, exif=image.getexif(), **_ENCODER_OPTIONS[image_format]
    )
    return buffer.getvalue()


def read_image(
    path: Path, max_width: int = MAX_FILE_WIDTH, max_height: int = MAX_HEIGHT
) -> Image.Image:
    """The image in a file.

    Raises:
        InputError: the path isn't a file, or it can't be read.
        MediaError: it is not an image, damaged, or larger than the limits.
    """
    check_readable(path, MAX_FILE_BYTES, "image")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"path={str(path)!r} cannot be read ({error.strerror})") from error
    try:
        return decode_image(data, max_width, max_height, MAX_FILE_PIXELS)
    except MediaError as error:
        raise MediaError(f"path={str(path)!r}: {error}") from error


def image_format_from_path(path: Path) -> ImageFormat:
    """Format that a file's extension stands for.

    Raises:
        InputError: an unknown extension.
    """
    try:
        return _EXTENSIONS[path.suffix.lower()]
    except KeyError:
        known = ", ".join(_EXTENSIONS)
        raise InputError(
            f"path={str(path)!r} has the extension {path.suffix!r}; use one of {known}"
        ) from None


def write_image(image: Image.Image, path: Path) -> None:
    """Write an image in the format of the path's extension, its EXIF included.

    The file appears whole or not at all.

    Raises:
        InputError: an unknown extension, too large an image, or the file can't be written.
    """
    write_file(encode_image(image, image_format_from_path(path)), path)
