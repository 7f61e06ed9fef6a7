"""EXIF of images from outside: their orientation, and damage to it."""

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from riffusion.errors import MediaError
from riffusion.io.images import decode_image, encode_image, read_image
from riffusion.spectrogram.params import SpectrogramParams

ORIENTATION = 274
MAX_JPEG_ERROR = 12  # grey levels, of blocks of 8 × 8 pixels in one colour
PARAMS = SpectrogramParams(step_size_ms=5, num_frequencies=64)

STORED: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda shown: shown,
    2: lambda shown: shown[:, ::-1],
    3: lambda shown: shown[::-1, ::-1],
    4: lambda shown: shown[::-1],
    5: lambda shown: shown.T,
    6: lambda shown: np.rot90(shown, 1),  # viewers turn it clockwise
    7: lambda shown: shown[::-1, ::-1].T,
    8: lambda shown: np.rot90(shown, -1),
}
"""How pixels are stored, from how they are shown: the table of the EXIF standard, inverted."""


def shown_pixels() -> np.ndarray:
    """40 columns and 64 rows; no two of the eight orientations look the same."""
    blocks = np.random.default_rng(7).integers(0, 256, (8, 5)).astype(np.uint8)
    return blocks.repeat(8, axis=0).repeat(8, axis=1)


def stored_image(orientation: int) -> Image.Image:
    image = Image.fromarray(np.ascontiguousarray(STORED[orientation](shown_pixels())))
    image.getexif().update(PARAMS.to_exif() | {ORIENTATION: orientation})
    return image


def file_of(image: Image.Image, image_format: str, exif: Image.Exif | bytes) -> bytes:
    buffer = io.BytesIO()
    options = {"WEBP": {"lossless": True}, "JPEG": {"quality": 95}}.get(image_format, {})
    image.save(buffer, image_format, exif=exif, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", STORED)
def test_images_are_read_as_viewers_show_them(orientation: int, image_format: str) -> None:
    image = stored_image(orientation)
    decoded = decode_image(file_of(image, image_format, image.getexif()))
    again = decode_image(encode_image(decoded, "png"))  # isn't turned a second time
    for one in (decoded, again):
        difference = np.asarray(one.convert("L")).astype(int) - shown_pixels()
        assert np.abs(difference).max() <= (MAX_JPEG_ERROR if image_format == "JPEG" else 0)
        assert one.getexif().get(ORIENTATION, 1) == 1
        assert SpectrogramParams.from_exif(one.getexif()) == PARAMS


@pytest.mark.parametrize("orientation", [0, 9, 300])
def test_an_unknown_orientation_has_no_effect(orientation: int) -> None:
    image = Image.fromarray(shown_pixels())
    image.getexif()[ORIENTATION] = orientation
    decoded = decode_image(file_of(image, "PNG", image.getexif()))
    assert np.array_equal(np.asarray(decoded), shown_pixels())


def test_orientation_after_the_pixels_of_a_png_counts() -> None:
    image = stored_image(6)
    data = file_of(image, "PNG", b"")
    exif = image.getexif().tobytes().removeprefix(b"Exif\0\0")
    chunk = struct.pack(">I", len(exif)) + b"eXIf" + exif
    chunk += struct.pack(">I", zlib.crc32(b"eXIf" + exif))
    end = data.index(b"IEND") - 4
    decoded = decode_image(data[:end] + chunk + data[end:])
    assert np.array_equal(np.asarray(decoded), shown_pixels())


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_limits_apply_to_the_image_as_shown(image_format: str) -> None:
    image = stored_image(6)  # 64 wide and 40 high in the file
    data = file_of(image, image_format, image.getexif())
    assert decode_image(data, max_width=40, max_height=64).size == (40, 64)
    with pytest.raises(MediaError, match="40×64 pixels; at most 64×40"):
        decode_image(data, max_width=64, max_height=40)


def truncated_values() -> bytes:
    """EXIF whose directory is complete; the numbers that don't fit into it are cut off."""
    return Image.Exif.tobytes(stored_image(1).getexif())[:-20]


DAMAGED = {
    "garbage": b"Exif\0\0garbage!garbage!",
    "only a header": b"Exif\0\0MM\0*\0\0\0\x08",
    "directory out of range": b"Exif\0\0II*\0\xff\xff\xff\x7f",
    "directory cut off": stored_image(1).getexif().tobytes()[:60],
    "values cut off": truncated_values(),
}


@pytest.mark.filterwarnings("ignore:.*:UserWarning")  # Pillow's own, about cut-off values
@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("damage", DAMAGED)
def test_damaged_exif_is_left_out_with_a_warning(
    damage: str, image_format: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "image.bin"
    path.write_bytes(file_of(Image.fromarray(shown_pixels()), image_format, DAMAGED[damage]))
    decoded = read_image(path)
    difference = np.asarray(decoded.convert("L")).astype(int) - shown_pixels()
    assert np.abs(difference).max() <= (MAX_JPEG_ERROR if image_format == "JPEG" else 0)
    assert dict(decoded.getexif()) == {}
    assert dict(decode_image(encode_image(decoded, "png")).getexif()) == {}
    (record,) = caplog.records
    assert "EXIF is damaged" in record.getMessage()
    assert "\n" not in record.getMessage()


def test_damaged_exif_in_a_png_text_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    """ImageMagick stores EXIF in a text chunk, in hexadecimal."""
    info = PngImagePlugin.PngInfo()
    info.add_text("Raw profile type exif", "\nexif\n   4\nnot hexadecimal\n")
    buffer = io.BytesIO()
    Image.fromarray(shown_pixels()).save(buffer, "PNG", pnginfo=info)
    decoded = decode_image(buffer.getvalue())
    assert np.array_equal(np.asarray(decoded), shown_pixels())
    assert dict(decoded.getexif()) == {}
    assert "EXIF is damaged" in caplog.text


def test_images_without_exif_are_read_without_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    for image_format in ("JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP"):
        buffer = io.BytesIO()
        Image.fromarray(shown_pixels()).save(buffer, image_format)
        assert decode_image(buffer.getvalue()).size == (40, 64)
    assert not caplog.records
