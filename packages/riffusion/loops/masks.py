"""Masks: white parts of a seed image are repainted, black parts are kept.

Grey blends: in each step of the diffusion, a mask value w from 0 (black) to 1 (white) mixes the
repainted image with a share of 1 - w of the seed. 75 % grey thus keeps a quarter of the seed, which
is enough to keep its rhythm and too little to keep its instruments.

The numbers in the names are the percentage of white in the part that is kept. Rows are frequencies,
with the highest at the top: masks for the top keep hi-hats and snares, and the melody below them is
repainted.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from PIL import Image

HEIGHT = 512
WIDTH = 512
BEATS = 8
"""Number of beats of the loops that `mask_beat_lines_80` fits."""

_LINE_FRAMES = 20
"""Width of a beat line, 200 ms: the 100 ms window spreads an onset over 10 frames."""
_LINE_SHOULDER_FRAMES = 8

Shades = npt.NDArray[np.float64]


def beat_lines(level: float) -> Shades:
    """(height, width) in [0, 1]: a soft vertical line of `level` at each beat, in the top half.

    The lines wrap around the edges, so that the mask loops like its image.
    """
    beat_frames = WIDTH / BEATS
    frames = np.arange(WIDTH)
    distance = np.abs((frames + beat_frames / 2) % beat_frames - beat_frames / 2)
    inner = _LINE_FRAMES / 2 - _LINE_SHOULDER_FRAMES / 2
    band = 1 - _smooth_step((distance - inner) / _LINE_SHOULDER_FRAMES)
    upper = 1 - _smooth_step((_depth() - 0.45) / 0.1)
    return 1 - (1 - level) * upper[:, np.newaxis] * band


def gradient(top_level: float, plateau: float, fade_end: float) -> Shades:
    """(height, width) in [0, 1]: `top_level` at the top, fading to white.

    Args:
        top_level: value of the plateau at the top.
        plateau: height of the plateau, as a share of the image's height.
        fade_end: distance from the top below which the mask is white, as a share of the height.
    """
    fade = _smooth_step((_depth() - plateau) / (fade_end - plateau))
    return _rows(top_level + (1 - top_level) * fade)


def top_band(level: float, share: float) -> Shades:
    """(height, width) in [0, 1]: `level` in the top `share` of the height, white below."""
    return _rows(np.where(_depth() < share, level, 1.0))


MASKS: dict[str, tuple[str, Callable[[], Shades]]] = {
    "mask_beat_lines_80": (
        "holds on to the upper half of every beat's onset, 80 % grey",
        lambda: beat_lines(0.80),
    ),
    "mask_gradient_dark": (
        "keeps the top nearly as it is (12 % grey), fading to a full repaint at half the height",
        lambda: gradient(0.12, 0.05, 0.5),
    ),
    "mask_gradient_top_70": (
        "holds on to the top at 70 % grey, fading to a full repaint at half the height",
        lambda: gradient(0.70, 0.05, 0.5),
    ),
    "mask_gradient_top_fifth_75": (
        "holds on to the top fifth at 75 % grey, fading out within the next tenth",
        lambda: gradient(0.75, 0.2, 0.3),
    ),
    "mask_top_third_75": (
        "holds on to the top third at 75 % grey",
        lambda: top_band(0.75, 1 / 3),
    ),
    "mask_top_third_95": (
        "holds on to the top third faintly, at 95 % grey",
        lambda: top_band(0.95, 1 / 3),
    ),
}
"""By id: description, and the function that returns the mask's values."""


def mask_image(shades: Shades) -> Image.Image:
    """Greyscale image of values (height, width) in [0, 1]; 1 is white."""
    return Image.fromarray(np.rint(255 * shades).astype(np.uint8))


def _depth() -> Shades:
    """Distance of each row's centre from the top, as a share of the height."""
    return (np.arange(HEIGHT) + 0.5) / HEIGHT


def _rows(shades: Shades) -> Shades:
    return np.repeat(shades[:, np.newaxis], WIDTH, axis=1)


def _smooth_step(x: Shades) -> Shades:
    """0 below 0, 1 above 1, and half a cosine between."""
    step: Shades = 0.5 - 0.5 * np.cos(np.pi * np.clip(x, 0, 1))
    return step
