"""Loudness planes: an image as one uint8 array in which louder is larger, and small copies of it.

Pixels of an image are dark where the audio is loud. A plane is inverted: 0 is silence, 255 the
largest amplitude, and the levels between follow the image's power curve. Rows are as in the image,
high frequencies at the top.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from riffusion.io.images import MAX_HEIGHT, MAX_WIDTH, read_image
from riffusion.spectrogram.image import rgb_image
from riffusion.spectrogram.params import SpectrogramParams

Plane = npt.NDArray[np.uint8]
"""(frequency, time), or (clips, frequency, time)."""

SMALL_SIDE = 128
"""Maximum rows and frames of a small plane: 4 × 4 pixels of a 512 × 512 image become one."""


def plane_from_image(image: Image.Image, params: SpectrogramParams) -> Plane:
    """The loudness plane of an image, (frequency, time).

    Args:
        image: an image of any mode.
        params: mono is read from R, as in decoding; stereo is the mean of G and B.
    """
    pixels = np.asarray(rgb_image(image))
    light = (pixels[..., 1:].mean(-1) if params.stereo else pixels[..., 0]).astype(np.uint8)
    plane: Plane = np.subtract(255, light, dtype=np.uint8)
    return plane


def image_from_plane(plane: Plane, params: SpectrogramParams) -> Image.Image:
    """The image of a plane, mode RGB. Differences between stereo channels are lost."""
    light = np.subtract(255, plane, dtype=np.uint8)
    planes = [np.zeros_like(light) if params.stereo else light, light, light]
    return Image.fromarray(np.stack(planes, axis=-1))


def read_plane(path: Path, params: SpectrogramParams) -> Plane:
    """The loudness plane of an image file, (frequency, time).

    Raises:
        InputError: the path isn't a file, or it can't be read.
        MediaError: it isn't an image, is damaged or too large.
    """
    return plane_from_image(read_image(path, MAX_WIDTH, MAX_HEIGHT), params)


def shrink(plane: Plane, height: int = SMALL_SIDE, width: int = SMALL_SIDE) -> Plane:
    """Shrink a plane by averaging; a small one is not enlarged.

    Args:
        plane: (frequency, time).
        height, width: maximum rows and frames of the result.

    Returns:
        (min(frequency, height), min(time, width)).
    """
    size = (min(plane.shape[1], width), min(plane.shape[0], height))
    return np.asarray(Image.fromarray(plane).resize(size, Image.Resampling.BOX))


def shrink_all(planes: Sequence[Plane]) -> Plane:
    """Shrunk planes, (clips, rows, frames), of planes of one size."""
    return np.stack([shrink(plane) for plane in planes])


def loudness(planes: Plane) -> npt.NDArray[np.float32]:
    """Planes as float32 in [0, 1]."""
    scaled: npt.NDArray[np.float32] = planes.astype(np.float32) / np.float32(255)
    return scaled
