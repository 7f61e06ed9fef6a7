"""Pictures and base64 text from outside: limits, damage, and what survives a file."""

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

from riffusion.data_urls import bytes_from_data_url, data_url
from riffusion.errors import InputError, MediaError
from riffusion.image_codec import decode_image, encode_image, read_image, write_image
from riffusion.spectrogram_params import SpectrogramParams

MAX_JPEG_ERROR = 6  # grey levels, of quality 95 on noise-free pictures


def picture(width: int = 16, height: int = 8) -> Image.Image:
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
def test_pictures_and_their_parameters_survive(image_format: str, error: int) -> None:
    again = decode_image(encode_image(picture(), image_format))  # type: ignore[arg-type]
    difference = np.asarray(again).astype(int) - np.asarray(picture()).astype(int)
    assert np.abs(difference).max() <= error
    assert SpectrogramParams.from_exif(again.getexif()) == SpectrogramParams()
    assert SpectrogramParams.max_value_from_exif(again.getexif()) == 2.5


def test_stereo_survives_jpeg() -> None:
    left, right = picture(64, 64).split()[0], picture(64, 64).rotate(90).split()[0]
    stereo = Image.merge("RGB", (Image.new("L", (64, 64)), left, right))
    again = np.asarray(decode_image(encode_image(stereo, "jpeg"))).astype(int)
    assert np.abs(again - np.asarray(stereo)).mean() < MAX_JPEG_ERROR


@given(st.binary(max_size=200))
def test_random_bytes_are_no_picture(data: bytes) -> None:
    with pytest.raises(MediaError):
        decode_image(data)


@given(kept=st.floats(0, 0.6), image_format=st.sampled_from(["png", "jpeg", "webp"]))
def test_truncated_picture_is_an_error_not_a_crash(kept: float, image_format: str) -> None:
    data = encode_image(picture(64, 64), image_format)  # type: ignore[arg-type]
    with pytest.raises(MediaError):
        decode_image(data[: int(kept * len(data))])


@pytest.mark.parametrize("size", [(6001, 10), (10, 4097), (60_000, 60_000), (2**31 - 1, 2**31 - 1)])
def test_huge_picture_is_refused_by_its_header(size: tuple[int, int]) -> None:
    with pytest.raises(MediaError, match="at most|cannot be read"):
        decode_image(png_that_claims(*size))


@pytest.mark.parametrize("name", ["x.png", "x.JPG", "x.jpeg", "x.webp"])
def test_files_are_written_by_extension(tmp_path: Path, name: str) -> None:
    write_image(picture(), tmp_path / name)
    assert read_image(tmp_path / name).size == (16, 8)


def test_bad_paths_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"x\.gif"):
        write_image(picture(), tmp_path / "x.gif")
    with pytest.raises(InputError, match="nowhere"):
        write_image(picture(), tmp_path / "nowhere" / "x.png")
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


def test_animated_and_multi_page_pictures_show_their_first_frame() -> None:
    buffer = io.BytesIO()
    frames = [picture().convert("P"), Image.new("P", (16, 8), 3)]
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:])
    assert decode_image(buffer.getvalue()).size == (16, 8)
