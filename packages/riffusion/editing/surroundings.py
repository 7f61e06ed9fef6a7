"""What a checkpoint sees of a recording around a section that is regenerated.

A section of up to about a clip is drawn in one window, which is as wide as it and a little of what
is beside it: the network takes any width, and the time that it takes grows with it. A longer
section has more beside it, and windows of a clip's width.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy  # scipy.ndimage is imported at its first use

from riffusion.editing.canvas_images import CanvasImages
from riffusion.editing.model_axis import ModelAxis
from riffusion.spectrogram.image import DEFAULT_MAX_VALUE

FloatArray = npt.NDArray[np.float32]
Bands = npt.NDArray[np.bool_]

CONTEXT_S = 1.28
"""Sound on both sides of a section that decides its level, and that the model sees of a long one at
least."""
NEAREST_S = 0.4
"""Sound on both sides of a section that the model sees at least."""
WIDEST_WINDOW = 1.25
"""Width of the widest window, in clips: what a network has learned hardly changes up to there."""
_QUIETEST = 1e-3
"""Lowest level of black relative to full scale, and to the loudest part: -60 dB."""
_LOUDEST_WITHIN_S = 2.56
"""The loudest moment at most that far away is black: half a clip."""
_FRAMES_AT_ONCE = 2048


@dataclass(frozen=True, eq=False)
class Section:
    """Frames that are regenerated.

    Args:
        first, last: the first frame, and the one after the last.
        bands: which mel bands are regenerated, (bands,); None for all.
        continues_before, continues_after: whether the recording continues beside the section.
    """

    first: int
    last: int
    bands: Bands | None = None
    continues_before: bool = True
    continues_after: bool = True

    @property
    def has_surroundings(self) -> bool:
        """Whether something of the recording is kept beside it."""
        return self.bands is not None or self.continues_before or self.continues_after

    @property
    def is_replaced(self) -> bool:
        """Whether it is regenerated in all bands, beside something that is kept."""
        return self.bands is None and self.has_surroundings


@dataclass(frozen=True)
class Extent:
    """The columns of latents that a checkpoint sees.

    Args:
        column: the first one, counted from the recording's start.
        num_columns: their number, at least a clip's.
        window: width of the windows that the network sees them in.
    """

    column: int
    num_columns: int
    window: int


def extent(axis: ModelAxis, images: CanvasImages, section: Section) -> Extent:
    """What the model sees: the section with its surroundings, and at least a clip.

    What is beyond the recording's end is silence.
    """
    clip = images.columns_of_clip
    start, stop = _columns(axis, images, section, NEAREST_S)
    is_one_window = stop - start <= WIDEST_WINDOW * clip
    if not is_one_window:
        start, stop = _columns(axis, images, section, CONTEXT_S)
    missing = max(0, clip - (stop - start))
    available = -(-axis.num_frames // images.frames_per_column)
    start = max(0, min(start - missing // 2, available - clip))
    num_columns = max(stop - start, clip)
    return Extent(start, num_columns, num_columns if is_one_window else clip)


def level_of_black(axis: ModelAxis, section: Section, begin: int, end: int) -> FloatArray:
    """Amplitude of black in each frame: that of the loudest moment around it, (end - begin,).

    A section that is regenerated as a whole doesn't count, but what is beside it. If that is
    silent, the level is that of images without one of their own.
    """
    first, last = heard_around(axis, section)
    first, last = max(0, min(begin, first)), max(end, last)
    peaks = np.concatenate(
        [
            axis.amplitudes(at, min(_FRAMES_AT_ONCE, last - at)).max(0)
            for at in range(first, last, _FRAMES_AT_ONCE)
        ]
    )
    is_replaced = np.zeros(len(peaks), bool)
    if section.is_replaced:
        is_replaced[section.first - first : section.last - first] = True
    peaks[is_replaced] = 0
    radius = round(_LOUDEST_WITHIN_S * axis.params.sample_rate / axis.params.hop_length)
    loudest = scipy.ndimage.maximum_filter1d(peaks, 2 * radius + 1, mode="constant")
    heard = np.flatnonzero(loudest > _QUIETEST * max(float(loudest.max()), 1e-9))
    if not len(heard) and section.has_surroundings:
        return np.full(end - begin, DEFAULT_MAX_VALUE, np.float32)
    if len(heard):
        loudest = np.interp(np.arange(len(loudest)), heard, loudest[heard])
    # An average over no more than the radius is at least the loudness of its middle.
    smooth = scipy.ndimage.uniform_filter1d(loudest, radius, mode="nearest")
    level = np.maximum(smooth, _QUIETEST * DEFAULT_MAX_VALUE)[begin - first : end - first]
    return np.asarray(level, np.float32)


def heard_around(axis: ModelAxis, section: Section) -> tuple[int, int]:
    """First frame of the section and of what counts beside it, and the one after the last."""
    context = math.ceil(CONTEXT_S * 1000 / axis.params.step_size_ms)
    return (
        section.first - (context if section.continues_before else 0),
        section.last + (context if section.continues_after else 0),
    )


def _columns(
    axis: ModelAxis, images: CanvasImages, section: Section, context_s: float
) -> tuple[int, int]:
    """First column of a section with so much beside it, and the one after the last."""
    factor = images.frames_per_column
    context = math.ceil(context_s * 1000 / axis.params.step_size_ms)
    first = section.first - (context if section.continues_before else 0)
    last = min(section.last + (context if section.continues_after else 0), axis.num_frames)
    return max(0, first // factor), -(-max(last, section.last) // factor)
