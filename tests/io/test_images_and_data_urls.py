"""Images and base64 text from outside: limits, damage, and round trips."""

import base64
import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from riffusion.datatypes import ImageFormat
from riffusion.errors import InputError, MediaError
from riffusion.io import images as image_module
from riffusion.io.data_urls import bytes_from_data_url, data_url
from riffusion.io.images import (
    MAX_HEIGHT,
    MAX_WIDTH,
    decode_image,
    encode_image,
    read_image,
    write_image,
)
from riffusion.spectrogram.params import SpectrogramParams

MAX_JPEG_ERROR = 6  # grey levels, for noise-free images at quality 95


def image(width: int = 16, height: int = 8) -> Image.Image:
    columns = np.linspace(0, 255, width, dtype=np.uint8)
    image = Image.fromarray(np.broadcast_to(columns[None, :, None], (height, width, 3)).copy())
    image.getexif().update(SpectrogramParams().to_exif(max_value=2.5))
    return image


def png_that_claims(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + checksum

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 1000))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    ("image_format", "error"), [("png", 0), ("webp", 0), ("jpeg", MAX_JPEG_ERROR)]
)
def test_images_and_their_parameters_survive(image_format: str, error: int) -> None:
    again = decode_image(encode_image(image(), image_format))  # type: ignore[arg-type]
    difference = np.asarray(again).astype(int) - np.asarray(image()).astype(int)
    assert np.abs(difference).max() <= error
    assert SpectrogramParams.from_exif(again.getexif()) == SpectrogramParams()
    assert SpectrogramParams.max_value_from_exif(again.getexif()) == 2.5


@pytest.mark.parametrize(
    ("image_format", "mode", "options"),
    [
        ("PNG", "L", {}),
        ("JPEG", "RGB", {"progressive": True}),
        ("MPO", "RGB", {"save_all": True, "append_images": [Image.new("RGB", (16, 8))]}),
        ("WEBP", "RGB", {}),
        ("WEBP", "RGB", {"lossless": True}),
        ("WEBP", "RGBA", {}),
        ("GIF", "L", {}),
        ("BMP", "RGB", {}),
        ("TIFF", "RGB", {}),
        ("TIFF", "RGB", {"big_tiff": True}),
    ],
)
def test_every_format_is_recognised(
    image_format: str, mode: str, options: dict[str, object]
) -> None:
    buffer = io.BytesIO()
    image().convert(mode).save(buffer, image_format, **options)
    again = decode_image(buffer.getvalue())
    assert again.size == (16, 8)
    difference = np.asarray(again.convert("L")).astype(int) - np.asarray(image().convert("L"))
    assert np.abs(difference).max() <= MAX_JPEG_ERROR


def test_stereo_survives_jpeg() -> None:
    left, right = image(64, 64).split()[0], image(64, 64).rotate(90).split()[0]
    stereo = Image.merge("RGB", (Image.new("L", (64, 64)), left, right))
    again = np.asarray(decode_image(encode_image(stereo, "jpeg"))).astype(int)
    assert np.abs(again - np.asarray(stereo)).mean() < MAX_JPEG_ERROR


@given(st.binary(max_size=200))
def test_random_bytes_are_no_image(data: bytes) -> None:
    with pytest.raises(MediaError):
        decode_image(data)


@given(kept=st.floats(0, 0.6), image_format=st.sampled_from(["png", "jpeg", "webp"]))
def test_truncated_image_is_an_error_not_a_crash(kept: float, image_format: str) -> None:
    data = encode_image(image(64, 64), image_format)  # type: ignore[arg-type]
    with pytest.raises(MediaError):
        decode_image(data[: int(kept * len(data))])


@pytest.mark.parametrize("size", [(6001, 10), (10, 8193), (60_000, 60_000), (2**31 - 1, 2**31 - 1)])
def test_huge_image_is_refused_by_its_header(size: tuple[int, int]) -> None:
    with pytest.raises(MediaError, match="at most|cannot be read"):
        decode_image(png_that_claims(*size))


def test_pillows_own_limit_has_no_effect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    assert decode_image(encode_image(image(), "png")).size == (16, 8)
    assert decode_image(encode_image(image(), "jpeg")).size == (16, 8)
    (tmp_path / "wide.png").write_bytes(png_that_claims(2**20, 513))
    with pytest.raises(MediaError, match=r"wide\.png.*1048576×513.*at most 536870912 in all"):
        read_image(tmp_path / "wide.png")


@pytest.mark.parametrize(
    ("size", "image_format", "message"),
    [
        ((70_000, 1), "jpeg", "image is 70000×1; jpeg holds at most 65500 columns; use png"),
        ((1, 65_501), "jpeg", "image is 1×65501; jpeg holds at most 65500 rows; use png"),
        ((16_384, 1), "webp", "image is 16384×1; webp holds at most 16383 columns; use png"),
        ((2**20 + 1, 1), "png", "png holds at most 1048576 columns; convert less at a time"),
    ],
)
def test_too_large_images_are_refused_before_encoding(
    size: tuple[int, int],
    image_format: ImageFormat,
    message: str,
    capfd: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(InputError, match=message):
        encode_image(Image.new("L", size), image_format)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(("width", "image_format"), [(65_500, "jpeg"), (16_383, "webp")])
def test_the_widest_image_of_a_format_is_encoded_and_read(
    tmp_path: Path, width: int, image_format: ImageFormat
) -> None:
    path = tmp_path / f"a.{image_format}"
    write_image(Image.new("L", (width, 1)), path)
    assert read_image(path).size == (width, 1)


def test_images_with_more_pixels_than_can_be_read_are_not_written(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(image_module, "MAX_FILE_PIXELS", 16 * 8 - 1)
    with pytest.raises(InputError, match="16×8; at most 127 pixels"):
        encode_image(image(), "png")


def test_the_highest_spectrogram_can_be_read() -> None:
    SpectrogramParams(num_frequencies=MAX_HEIGHT, sample_rate=16_000)
    with pytest.raises(InputError, match="num_frequencies"):
        SpectrogramParams(num_frequencies=MAX_HEIGHT + 1, sample_rate=16_000)
    highest = Image.new("L", (1, MAX_HEIGHT))
    assert decode_image(encode_image(highest, "png")).size == (1, MAX_HEIGHT)
    assert MAX_WIDTH * MAX_HEIGHT <= image_module.MAX_FILE_PIXELS


@pytest.mark.parametrize("name", ["x.png", "x.JPG", "x.jpeg", "x.webp"])
def test_files_are_written_by_extension(tmp_path: Path, name: str) -> None:
    write_image(image(), tmp_path / name)
    assert read_image(tmp_path / name).size == (16, 8)


def test_bad_paths_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"x\.gif"):
        write_image(image(), tmp_path / "x.gif")
    with pytest.raises(InputError, match="nowhere"):
        write_image(image(), tmp_path / "nowhere" / "x.png")
    with pytest.raises(InputError, match=r"none\.png"):
        read_image(tmp_path / "none.png")
    (tmp_path / "text.png").write_text("hello")
    with pytest.raises(MediaError, match=r"text\.png"):
        read_image(tmp_path / "text.png")


@given(st.binary(min_size=1, max_size=100))
def test_data_urls_are_exact(data: bytes) -> None:
    url = data_url(data, "audio/mpeg")
    assert url.startswith("data:audio/mpeg;base64,")
    assert "\n" not in url
    assert bytes_from_data_url(url, "x") == data
    wrapped = base64.encodebytes(data).decode()  # as mail programs and upstream's server write it
    assert bytes_from_data_url(wrapped, "x") == data


@pytest.mark.parametrize(
    "text", ["", "data:", "data:audio/mpeg,abc", "data:;base64,", "a", "ab=c", "äöü", "AAA$", " "]
)
def test_bad_base64_names_its_field(text: str) -> None:
    with pytest.raises(MediaError, match="^init_audio: "):
        bytes_from_data_url(text, "init_audio")


def test_animated_and_multi_page_images_show_their_first_frame() -> None:
    buffer = io.BytesIO()
    frames = [image().convert("P"), Image.new("P", (16, 8), 3)]
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:])
    assert decode_image(buffer.getvalue()).size == (16, 8)
