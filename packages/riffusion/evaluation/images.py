"""An image as the ear has it: one plane of loudness, and small copies of it to compare.

Pixels are dark where the sound is loud. Scores are about sound, so a plane counts the other way:
0 is silence, 255 the loudest amplitude, and the steps between are those of the image's power
curve. Rows stay as in the image, high frequencies at the top.
"""

from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from riffusion.io.images import MAX_HEIGHT, MAX_WIDTH, read_image
from riffusion.spectrogram.image import rgb_image
from riffusion.spectrogram.params import SpectrogramParams

Plane = npt.NDArray[np.uint8]
"""(frequency, time); with a leading axis, several of them."""

SMALL_SIDE = 128
"""Most rows and columns of a small plane: 4 × 4 pixels of an image of 512 × 512 become one."""


def plane_from_image(image: Image.Image, params: SpectrogramParams) -> Plane:
    """Loudness of an image, (frequency, time).

    Args:
        image: any mode.
        params: mono is read from R as decoding does, stereo is the mean of G and B.
    """
    pixels = np.asarray(rgb_image(image))
    light = (pixels[..., 1:].mean(-1) if params.stereo else pixels[..., 0]).astype(np.uint8)
    plane: Plane = np.subtract(255, light, dtype=np.uint8)
    return plane


def image_from_plane(plane: Plane, params: SpectrogramParams) -> Image.Image:
    """The image of a plane, mode RGB. Lost: what a stereo image's channels differ in."""
    light = np.subtract(255, plane, dtype=np.uint8)
    planes = [np.zeros_like(light) if params.stereo else light, light, light]
    return Image.fromarray(np.stack(planes, axis=-1))


def read_plane(path: Path, params: SpectrogramParams) -> Plane:
    """Loudness of an image file, (frequency, time).

    Raises:
        InputError: the path isn't a file, or it can't be read.
        MediaError: it is no image, damaged or too large.
    """
    return plane_from_image(read_image(path, MAX_WIDTH, MAX_HEIGHT), params)


def shrink(plane: Plane, height: int = SMALL_SIDE, width: int = SMALL_SIDE) -> Plane:
    """Mean over cells; never enlarges.

    Args:
        plane: (frequency, time).
        height, width: most rows and columns of the result.

    Returns:
        (min(frequency, height), min(time, width)).
    """
    size = (min(plane.shape[1], width), min(plane.shape[0], height))
    return np.asarray(Image.fromarray(plane).resize(size, Image.Resampling.BOX))


def loudness(planes: Plane) -> npt.NDArray[np.float32]:
    """Planes as float32 in [0, 1]."""
    scaled: npt.NDArray[np.float32] = planes.astype(np.float32) / np.float32(255)
    return scaled
