"""Pixels of more than 8 bits to grey levels, and the ways in which TIFF files store them."""

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image
from PIL.TiffImagePlugin import TiffImageFile

from riffusion.errors import MediaError

_MIN_IS_WHITE, _SIGNED = 0, 2


def grey_from_numbers(numbers: npt.NDArray[np.generic]) -> npt.NDArray[np.uint8]:
    """Grey levels of pixels with 16 or 32 bits, whose files don't tell which number is white.

    Whole numbers are 8-bit levels if none is above 255, and 16-bit levels if the largest is at
    least 4096. Floating-point numbers are shares of white if none is above 1, and 8-bit levels if
    the largest is from 16 to 255. Anything else could be of several kinds, and the wrong choice
    would be a nearly black image, which is noise at full level.

    Raises:
        MediaError: the numbers are of none of these ranges.
    """
    values = numbers.astype(np.float64)
    low, high = float(values.min()), float(values.max())
    is_whole = np.issubdtype(numbers.dtype, np.integer)
    scale = 0.0
    if low >= 0 and is_whole:
        scale = 1.0 if high <= 255 else 1 / 257 if 4096 <= high <= 65535 else 0.0
    elif low >= 0:
        scale = 255.0 if high <= 1 else 1.0 if 16 <= high <= 255 else 0.0
    if scale == 0.0:  # also for NaN, which fails every comparison
        known = "0 to 255 or 0 to 65535" if is_whole else "0 to 1 or 0 to 255"
        raise MediaError(
            f"the image's numbers are from {low:g} to {high:g}, and {known} with 0 as black is "
            "needed; scale them, or save the image with 8 bits"
        )
    return np.rint(values * scale).astype(np.uint8)


def grey_of_tiff(image: TiffImageFile) -> Image.Image | None:
    """Grey levels of a decoded TIFF whose numbers mean something else than Pillow takes them for.

    Numbers of more than 8 bits may stand for white at 0 (MinIsWhite), and Pillow passes them on as
    they are.

    Returns:
        None if Pillow's pixels are right.

    Raises:
        MediaError: signed numbers, whose zero may be black or grey, or numbers of unknown range.
    """
    base = ExifTags.Base
    (bits, *_) = image.tag_v2.get(base.BitsPerSample, (1,))
    is_signed = _SIGNED in image.tag_v2.get(base.SampleFormat, (1,))
    is_wide = image.mode == "F" or image.mode.startswith("I")
    if is_signed and (bits == 8 or (bits == 16 and np.asarray(image).max() > 255)):
        raise MediaError(
            f"the image's numbers are signed and of {bits} bits, so their range is unknown; "
            "save it with 8 bits without sign"
        )
    if not is_wide or image.tag_v2.get(base.PhotometricInterpretation) != _MIN_IS_WHITE:
        return None
    grey = Image.fromarray(255 - grey_from_numbers(np.asarray(image)))
    grey.getexif().update(image.getexif())
    return grey
