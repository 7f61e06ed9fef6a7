"""Images ⇄ bytes and files, with limits on what is decoded; EXIF is kept.

Images are turned the way that viewers show them, by the orientation in their EXIF.
"""

from __future__ import annotations

import io
import logging
import re
import struct
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import ExifTags, Image, ImageOps
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from riffusion.errors import InputError, MediaError
from riffusion.io.files import check_readable, write_file
from riffusion.io.pixel_numbers import grey_of_tiff

if TYPE_CHECKING:
    from riffusion.datatypes import ImageFormat  # imports pydantic, which nothing here needs

logger = logging.getLogger(__name__)

MAX_WIDTH = 6000
"""One minute in frames of 10 ms."""
MAX_HEIGHT = 8192
"""The most mel bands that `SpectrogramParams` allows."""
MAX_FILE_WIDTH = 2**20
"""Largest width of an image file: nearly three hours in frames of 10 ms."""
MAX_FILE_PIXELS = 2**29
"""Most pixels of an image file: the largest width at a height of 512, 1.5 GiB of memory."""
MAX_FILE_BYTES = 2**31
"""Largest image file: 2 GiB."""
MEDIA_TYPES: dict[ImageFormat, str] = {
    "jpeg": "image/jpeg",
    "png": "image/png",
    "webp": "image/webp",
}

_DECODERS: dict[str, tuple[re.Pattern[bytes], type[ImageFile]]] = {
    "PNG": (re.compile(rb"\x89PNG\r\n\x1a\n"), PngImageFile),
    "JPEG": (re.compile(rb"\xff\xd8\xff"), JpegImageFile),
    "WEBP": (re.compile(rb"RIFF.{4}WEBPVP8[ LX]", re.DOTALL), WebPImageFile),
    "GIF": (re.compile(rb"GIF8[79]a"), GifImageFile),
    "BMP": (re.compile(rb"BM"), BmpImageFile),
    "TIFF": (re.compile(rb"(MM|II)(\0[*+]|[*+]\0)"), TiffImageFile),
}
"""Per format, the first bytes of its files and Pillow's class for them."""
_TURNED = (5, 6, 7, 8)
"""EXIF orientations of images whose rows are shown as columns."""
_ENCODER_OPTIONS: dict[ImageFormat, dict[str, object]] = {
    # Full colour resolution: stereo images have one channel in G and the other in B.
    "jpeg": {"quality": 95, "subsampling": 0},
    "png": {},
    "webp": {"lossless": True},
}
_MAX_SIDES: dict[ImageFormat, int] = {"jpeg": 65_500, "png": MAX_FILE_WIDTH, "webp": 16_383}
"""Largest width and height in pixels: for JPEG and WebP the limits of libjpeg and libwebp, for PNG
the limit of `read_image`."""
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
    """Decode an image completely, as viewers show it, with its EXIF.

    The size is checked in the header, before any pixel is decoded. EXIF that is damaged is left
    out, with a warning; its orientation is applied and removed.

    Raises:
        MediaError: the bytes aren't an image of a known format, or the image is damaged or larger
            than the limits.
    """
    image = _with_header_read(data)
    _check_sides(image.size[::-1] if _is_turned(image) else image.size, max_width, max_height)
    if image.width * image.height > max_pixels:
        raise MediaError(
            f"the image is {image.width}×{image.height} pixels; "
            f"at most {max_pixels} in all are allowed"
        )
    try:
        image.load()
    except Exception as error:
        raise MediaError(f"the image is damaged ({error}); send it again undamaged") from error
    _leave_out_damaged_exif(image)
    grey = grey_of_tiff(image) if isinstance(image, TiffImageFile) else None
    shown: Image.Image = image if grey is None else grey
    ImageOps.exif_transpose(shown, in_place=True)
    _check_sides(shown.size, max_width, max_height)  # a PNG's EXIF can follow its pixels
    return shown


def _check_sides(size: tuple[int, int], max_width: int, max_height: int) -> None:
    if size[0] > max_width or size[1] > max_height:
        raise MediaError(
            f"the image is {size[0]}×{size[1]} pixels; at most {max_width}×{max_height} are allowed"
        )


def _is_turned(image: ImageFile) -> bool:
    """Whether the EXIF before the pixels exchanges width and height."""
    if "exif" not in image.info:
        return False  # also a TIFF, whose size Pillow exchanges already
    try:
        return image.getexif().get(ExifTags.Base.Orientation) in _TURNED
    except Exception:  # damaged; `_leave_out_damaged_exif` warns about it
        return False


def _leave_out_damaged_exif(image: ImageFile) -> None:
    """Remove an image's EXIF, with a warning, if a tag can't be read."""
    try:
        tags = dict(image.getexif())  # reads every value
        exif = image.info.get("exif")
        missing = _num_tags(exif) - len(tags) if exif else 0
        if missing <= 0:
            return
        reason = f"{missing} of its tags can't be read"
    except Exception as error:  # Pillow's parser raises anything on damaged EXIF
        reason = str(error) or type(error).__name__
    logger.warning("the image's EXIF is damaged (%s); ignoring it, the pixels are used", reason)
    for name in ("exif", "Raw profile type exif", "xmp", "XML:com.adobe.xmp"):
        image.info.pop(name, None)
    image._exif = Image.Exif()
    image._exif._loaded = True  # so that a TIFF's isn't read again from its tags


def _num_tags(exif: bytes) -> int:
    """Number of tags that EXIF data announces in its first directory.

    Pillow passes over tags whose values are cut off, so it may read fewer.
    """
    tiff = exif.removeprefix(b"Exif\0\0")
    order = "<" if tiff.startswith(b"II") else ">"
    (start,) = struct.unpack_from(f"{order}I", tiff, 4)
    (count,) = struct.unpack_from(f"{order}H", tiff, start)
    return int(count)


def memory_of_image(data: bytes) -> int:
    """Bytes of memory that decoding an image takes, by its header; no pixel is decoded.

    Pillow stores a pixel in 1, 2 or 4 bytes. What isn't RGB is copied on the way to it, and what
    has transparency or more than 8 bits is copied twice.

    Raises:
        MediaError: the bytes aren't an image of a known format.
    """
    image = _with_header_read(data)
    if image.mode == "RGB":
        num_bytes = 4
    elif image.mode in ("1", "L", "P", "CMYK", "YCbCr"):
        num_bytes = 8
    else:
        num_bytes = 12
    return image.width * image.height * num_bytes


def _with_header_read(data: bytes) -> ImageFile:
    """An image of which only the header is decoded.

    `Image.open` has its own limit, `Image.MAX_IMAGE_PIXELS`, which is a sixth of `MAX_FILE_PIXELS`;
    above it, it warns or raises. That setting and the warning's filter belong to the whole process,
    so changing them would affect other code and, for a moment, other threads. The classes of
    Pillow's plugins don't have the limit: they parse the header, and `decode_image` checks the size
    in it. Only the WebP class has a limit of twice `Image.MAX_IMAGE_PIXELS`, which no WebP image
    with at most `MAX_HEIGHT` rows reaches.
    """
    for name, (signature, image_class) in _DECODERS.items():
        if not signature.match(data):
            continue
        try:
            return image_class(io.BytesIO(data))
        except (SyntaxError, IndexError, TypeError, struct.error) as error:
            # Pillow's parsers raise these for what they don't know, such as TIFFs of three floats.
            raise MediaError(
                f"the image cannot be read as {name} ({error}); save it as an 8-bit PNG"
            ) from error
        except Exception as error:  # a damaged header can make a parser raise anything
            raise MediaError(
                f"the image cannot be read ({error}); send it again undamaged"
            ) from error
    raise MediaError(f"is not an image; send one of {', '.join(_DECODERS)}")


def encode_image(image: Image.Image, image_format: ImageFormat) -> bytes:
    """Encode an image as RGB, with its EXIF. JPEG changes pixels by a few grey levels.

    Raises:
        InputError: the image is wider or higher than the format allows.
    """
    limit = _MAX_SIDES[image_format]
    if max(image.size) > limit:
        columns_or_rows = "columns" if image.width > limit else "rows"
        remedy = "convert less at a time" if image_format == "png" else "use png"
        raise InputError(
            f"image is {image.width}×{image.height}; "
            f"{image_format} holds at most {limit} {columns_or_rows}; {remedy}"
        )
    if image.width * image.height > MAX_FILE_PIXELS:
        raise InputError(
            f"image is {image.width}×{image.height}; at most {MAX_FILE_PIXELS} pixels in all "
            "can be read again; convert less at a time"
        )
    buffer = io.BytesIO()
    image.convert("RGB").save(
        buffer, image_format, exif=image.getexif(), **_ENCODER_OPTIONS[image_format]
    )
    return buffer.getvalue()


def read_image(
    path: Path, max_width: int = MAX_FILE_WIDTH, max_height: int = MAX_HEIGHT
) -> Image.Image:
    """Read an image file.

    Raises:
        InputError: the path isn't a file, or the file can't be read.
        MediaError: the file isn't an image, or the image is damaged or larger than the limits.
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
    """The format that a file's extension stands for.

    Raises:
        InputError: the extension is unknown.
    """
    try:
        return _EXTENSIONS[path.suffix.lower()]
    except KeyError:
        known = ", ".join(_EXTENSIONS)
        raise InputError(
            f"path={str(path)!r} has the extension {path.suffix!r}; use one of {known}"
        ) from None


def write_image(image: Image.Image, path: Path) -> None:
    """Write an image with its EXIF, in the format of the path's extension.

    The file appears completely or not at all.

    Raises:
        InputError: the extension is unknown, the image is too large, or the file can't be written.
    """
    write_file(encode_image(image, image_format_from_path(path)), path)
