"""TIFF files whose numbers stand for other greys than Pillow takes them for."""

import io
import struct

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from riffusion.errors import MediaError
from riffusion.io.images import decode_image
from riffusion.spectrogram.image import rgb_image

MIN_IS_WHITE, MIN_IS_BLACK = 0, 1
UNSIGNED, SIGNED, FLOAT = 1, 2, 3


def greys() -> npt.NDArray[np.uint8]:
    """40 columns and 64 rows, with black and white in them."""
    pixels = np.random.default_rng(3).integers(0, 256, (64, 40)).astype(np.uint8)
    pixels[0, :2] = 0, 255
    return pixels


def tiff(
    numbers: npt.NDArray[np.generic],
    photometric: int,
    sample_format: int | None,
    order: str = "<",
    orientation: int = 1,
) -> bytes:
    """A TIFF of one strip: a directory of (tag, type, count, value), then the pixels."""
    height, width = numbers.shape
    data = numbers.astype(numbers.dtype.newbyteorder(order)).tobytes()
    tags = {256: width, 257: height, 258: numbers.itemsize * 8, 259: 1, 262: photometric}
    tags |= {273: 0, 274: orientation, 277: 1, 278: height, 279: len(data)}
    if sample_format is not None:
        tags[339] = sample_format
    tags[273] = 8 + 2 + 12 * len(tags) + 4
    entries = [struct.pack(order + "HHII", tag, 4, 1, tags[tag]) for tag in sorted(tags)]
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8)
    return head + struct.pack(order + "H", len(tags)) + b"".join(entries) + bytes(4) + data


def numbers_of(kind: str, shown: npt.NDArray[np.uint8]) -> npt.NDArray[np.generic]:
    """Numbers with 0 as black."""
    return {
        "8 bits": shown,
        "16 bits": shown.astype(np.uint16) * 257,
        "8 bits in 16": shown.astype(np.uint16),
        "shares of white": shown.astype(np.float32) / 255,
        "floats to 255": shown.astype(np.float32),
    }[kind]


def inverted(numbers: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
    """The same greys with 0 as white."""
    return (numbers.max() - numbers).astype(numbers.dtype)


KINDS = [
    ("8 bits", UNSIGNED),
    ("8 bits", None),
    ("16 bits", UNSIGNED),
    ("16 bits", None),
    ("8 bits in 16", UNSIGNED),
    ("shares of white", FLOAT),
    ("floats to 255", FLOAT),
]


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("kind", "sample_format"), KINDS)
def test_zero_is_black_or_white_as_the_file_says(kind, sample_format, order):
    numbers = numbers_of(kind, greys())
    for photometric, stored in ((MIN_IS_BLACK, numbers), (MIN_IS_WHITE, inverted(numbers))):
        file = tiff(stored, photometric, sample_format, order)
        try:
            shown = np.asarray(rgb_image(decode_image(file)))[..., 0]
        except MediaError as error:  # Pillow knows no big-endian 16 bits with 0 as white
            assert (numbers.dtype, photometric, order) == (np.uint16, MIN_IS_WHITE, ">")
            assert "save it as an 8-bit PNG" in str(error)
            continue
        assert np.array_equal(shown, greys())


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_and_exif_of_an_inverted_image_stay(orientation):
    numbers = inverted(numbers_of("16 bits", greys()))
    decoded = decode_image(tiff(numbers, MIN_IS_WHITE, UNSIGNED, orientation=orientation))
    upright = decode_image(tiff(greys(), MIN_IS_BLACK, UNSIGNED, orientation=orientation))
    assert np.array_equal(np.asarray(rgb_image(decoded)), np.asarray(rgb_image(upright)))
    assert decoded.getexif().get(274, 1) == 1
    assert decoded.getexif()[277] == 1


def test_inverted_numbers_of_unknown_range_are_refused():
    with pytest.raises(MediaError, match="from 0 to 1000.*8 bits"):
        decode_image(tiff(np.full((64, 40), 1000, np.uint16) * (greys() > 9), 0, UNSIGNED))


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    "numbers",
    [
        (greys().astype(np.int16) - 128).astype(np.int8),
        np.rint(greys() / 255 * 127).astype(np.int8),
        (greys().astype(np.int32) * 257 - 32768).astype(np.int16),
        np.rint(greys() / 255 * 32767).astype(np.int16),
    ],
    ids=["8 bits around 0", "8 bits from 0", "16 bits around 0", "16 bits from 0"],
)
def test_signed_numbers_are_refused(numbers, order):
    with pytest.raises(MediaError, match="signed and of (8|16) bits.*save it with 8 bits without"):
        decode_image(tiff(numbers, MIN_IS_BLACK, SIGNED, order))


@pytest.mark.parametrize("dtype", [np.int16, np.int32])
def test_signed_numbers_that_are_8_bit_levels_are_read(dtype):
    decoded = decode_image(tiff(greys().astype(dtype), MIN_IS_BLACK, SIGNED))
    assert np.array_equal(np.asarray(rgb_image(decoded))[..., 0], greys())


def test_pillows_own_files_are_read():
    for numbers in (greys(), greys().astype(np.uint16) * 257, greys().astype(np.int32)):
        buffer = io.BytesIO()
        Image.fromarray(numbers).save(buffer, "TIFF")
        assert np.array_equal(
            np.asarray(rgb_image(decode_image(buffer.getvalue())))[..., 0], greys()
        )
