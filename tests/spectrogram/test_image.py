"""Amplitudes ⇄ pixels."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from riffusion.errors import InputError, MediaError
from riffusion.io.images import decode_image
from riffusion.spectrogram.image import image_from_spectrogram, rgb_image, spectrogram_from_image

HALF_GREY_LEVEL = 0.5 / 255 + 1e-6  # rounding to 8 bits, and float32 arithmetic


@given(
    spectrogram=arrays(
        np.float32,
        st.tuples(st.sampled_from([1, 2]), st.integers(1, 9), st.integers(1, 9)),
        elements=st.floats(0, 1, width=32, allow_subnormal=False),
    ),
    power=st.sampled_from([0.25, 0.5, 1.0]),
)
def test_round_trip_loses_half_a_grey_level(spectrogram: np.ndarray, power: float) -> None:
    image = image_from_spectrogram(spectrogram, power)
    assert image.size == spectrogram.shape[:0:-1]
    restored = spectrogram_from_image(image, power, stereo=len(spectrogram) == 2, max_value=1.0)
    assert restored.shape == spectrogram.shape
    relative = spectrogram / (spectrogram.max() or np.float32(1))
    assert np.abs(restored**power - relative**power).max() <= HALF_GREY_LEVEL


def test_every_pixel_value_survives_a_round_trip() -> None:
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    image = Image.fromarray(np.stack([grey] * 3, axis=-1))
    again = image_from_spectrogram(spectrogram_from_image(image))
    assert np.array_equal(np.asarray(again), np.asarray(image))


def test_loud_low_frequency_is_dark_at_the_bottom() -> None:
    spectrogram = np.zeros((1, 4, 3), dtype=np.float32)
    spectrogram[0, 0, 2] = 7.0  # lowest frequency, last frame
    pixels = np.asarray(image_from_spectrogram(spectrogram))
    assert pixels[3, 2].tolist() == [0, 0, 0]
    assert (pixels.sum(axis=-1) == 3 * 255).sum() == 11


def test_pixels_are_rounded_not_truncated() -> None:
    spectrogram = np.array([[[1.0, (100.4 / 255) ** 4, (100.6 / 255) ** 4]]], dtype=np.float32)
    assert np.asarray(image_from_spectrogram(spectrogram))[0, :, 0].tolist() == [0, 155, 154]


def test_stereo_keeps_left_in_green_and_right_in_blue() -> None:
    spectrogram = np.stack([np.full((2, 2), 1.0), np.zeros((2, 2))]).astype(np.float32)
    assert np.asarray(image_from_spectrogram(spectrogram))[0, 0].tolist() == [0, 0, 255]


def test_silence_is_white_and_stays_silent() -> None:
    image = image_from_spectrogram(np.zeros((1, 5, 4), dtype=np.float32))
    assert image.getextrema() == ((255, 255),) * 3
    assert not spectrogram_from_image(image).any()


@pytest.mark.parametrize(
    "spectrogram",
    [
        np.zeros((3, 4, 4)),
        np.zeros((4, 4)),
        np.zeros((1, 4, 0)),
        np.full((1, 2, 2), np.nan),
        np.full((1, 2, 2), np.inf),
        np.full((1, 2, 2), -1.0),
    ],
    ids=["three channels", "no channels", "no frames", "nan", "infinite", "negative"],
)
def test_bad_spectrogram_is_refused(spectrogram: np.ndarray) -> None:
    with pytest.raises(InputError, match="spectrogram"):
        image_from_spectrogram(spectrogram.astype(np.float32))


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "LA", "CMYK", "YCbCr", "HSV", "F"])
def test_grey_means_the_same_in_every_mode(mode: str) -> None:
    image = Image.new("RGB", (3, 2), (255, 255, 255)).convert(mode)
    assert rgb_image(image).getextrema() == ((255, 255),) * 3


def test_sixteen_bit_grey_is_scaled() -> None:
    image = Image.fromarray(np.array([[0, 32896, 65535]], dtype=np.uint16))
    assert np.asarray(rgb_image(image))[0, :, 0].tolist() == [0, 128, 255]


def test_transparency_is_silence() -> None:
    assert rgb_image(Image.new("RGBA", (1, 1), (0, 0, 0, 0))).getpixel((0, 0)) == (255,) * 3


NUMBERS = {  # pixels of one kind: 0, one half and white
    "shares of white": np.array([[0, 0.5, 1]], np.float32),
    "float grey levels": np.array([[0, 127.5, 255]], np.float32),
    "8 bits in 32": np.array([[0, 128, 255]], np.int32),
    "16 bits in 32": np.array([[0, 32896, 65535]], np.int32),
    "8 bits in 16": np.array([[0, 128, 255]], np.uint16),
    "16 bits": np.array([[0, 32896, 65535]], np.uint16),
}


@pytest.mark.parametrize("kind", NUMBERS)
def test_numbers_of_other_ranges_are_scaled(kind: str) -> None:
    buffer = io.BytesIO()
    Image.fromarray(NUMBERS[kind]).save(buffer, "TIFF")
    image = rgb_image(decode_image(buffer.getvalue()))
    assert np.asarray(image)[0, :, 0].tolist() == [0, 128, 255]


@pytest.mark.parametrize(
    ("numbers", "shown"),
    [
        (np.array([[-1, 1]], np.float32), "from -1 to 1"),
        (np.array([[0, 1.5]], np.float32), "from 0 to 1.5"),
        (np.array([[0, 65535]], np.float32), "from 0 to 65535"),
        (np.array([[0, np.nan]], np.float32), "nan"),
        (np.array([[0, np.inf]], np.float32), "inf"),
        (np.array([[-5, 255]], np.int32), "from -5 to 255"),
        (np.array([[0, 2**31 - 1]], np.int32), "0 to 255 or 0 to 65535"),
        (np.array([[0, 1023]], np.uint16), "from 0 to 1023"),
    ],
)
def test_numbers_of_unknown_range_are_refused(numbers: np.ndarray, shown: str) -> None:
    with pytest.raises(MediaError, match="save the image with 8 bits") as refusal:
        rgb_image(Image.fromarray(numbers))
    assert shown in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparent_parts_show_the_background(mode: str) -> None:
    image = Image.new("RGBA", (2, 1), (0, 0, 0, 0))
    image.putpixel((1, 0), (255, 255, 255, 255))
    image = image.convert("LA") if mode == "LA" else image
    image = image.quantize(4) if mode == "P" else image
    assert np.asarray(rgb_image(image))[0, :, 0].tolist() == [255, 255]
    assert np.asarray(rgb_image(image, background="black"))[0, :, 0].tolist() == [0, 255]
