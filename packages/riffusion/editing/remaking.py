"""A section of a recording made anew by a checkpoint, of any length and with bounded memory.

    mel amplitudes ─▶ latents ─▶ canvas: noise, denoised in windows ─▶ mel amplitudes ─▶ sound

Everything but the latents, which are small, is computed part by part.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import scipy.ndimage
import torch

from riffusion.audio.waveform import Waveform
from riffusion.datatypes import InferenceInput
from riffusion.diffusion.canvas import CanvasPlan, PromptAt
from riffusion.diffusion.magic_mix import MagicMix
from riffusion.diffusion.pipeline import ProgressCallback
from riffusion.editing.canvas_images import CanvasImages
from riffusion.editing.model_axis import ModelAxis
from riffusion.editing.rendering import rendered
from riffusion.generation.generator import ClipGenerator
from riffusion.spectrogram.image import DEFAULT_MAX_VALUE

FloatArray = npt.NDArray[np.float32]
Bands = npt.NDArray[np.bool_]

CONTEXT_S = 1.28
"""Sound on both sides of a section that the model sees at least."""
_QUIETEST = 1e-3
"""Lowest level of black relative to full scale, and to the loudest part: -60 dB."""
_LOUDEST_WITHIN_S = 2.56
"""The loudest moment at most that far away is black: half a clip."""
_FRAMES_AT_ONCE = 2048


@dataclass(frozen=True, eq=False)
class Section:
    """Frames that are made anew.

    Args:
        first, last: the first frame, and the one after the last.
        bands: which mel bands are made anew, (bands,); None for all.
        continues_before, continues_after: whether the recording goes on beside the section.
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


@dataclass(frozen=True)
class PromptAtFrame:
    """A prompt at a frame of the recording."""

    frame: float
    prompt: str


def remade(
    axis: ModelAxis,
    generator: ClipGenerator,
    inputs: InferenceInput,
    prompts: Sequence[PromptAtFrame],
    section: Section,
    on_progress: ProgressCallback | None = None,
    mix: MagicMix | None = None,
) -> Iterator[Waveform]:
    """Make a section anew.

    The diffusion runs before the first part comes.

    Args:
        axis: the recording.
        generator: its checkpoint makes the section.
        inputs: seed, negative prompt, denoising, guidance, scheduler and steps, of its start.
        prompts: at least one, in ascending order.
        section: the section.
        on_progress: called with (steps done, number of steps); what it raises ends the work.
        mix: for a section without surroundings: what of it is mixed in along the way.

    Yields:
        (1, samples) at the model's rate; all together have the section's frames.
    """
    images = CanvasImages(generator)
    factor = images.frames_per_column
    column, num_columns = canvas_columns(axis, images, section)
    begin, end = factor * column, factor * (column + num_columns)
    level = level_of_black(axis, section, begin, end)
    init = images.latents(axis.amplitudes, begin, num_columns, level)
    points = [PromptAt(at.frame / factor - column, at.prompt) for at in prompts]
    repaint = _repaint(images, axis, section, begin, end) if section.has_surroundings else None
    plan = CanvasPlan(init, points, repaint, column)
    if mix is not None:
        plan = replace(plan, repaint=mix.repaint, free_share=mix.low)
    made = generator.canvas(inputs, plan, on_progress)

    def target(first: int, num_frames: int) -> FloatArray:
        """Frames of the section as they were made, and others as they are."""
        found = axis.amplitudes(first, num_frames)
        start, stop = max(first, section.first), min(first + num_frames, section.last)
        if start < stop:
            new = images.frames(made, start - begin, stop - begin, level)
            bands = slice(None) if section.bands is None else section.bands
            found[bands, start - first : stop - first] = new[bands]
        return found

    return rendered(
        axis,
        target,
        section.first,
        section.last - section.first,
        continues_before=section.continues_before,
        continues_after=section.continues_after,
    )


def remade_samples(
    axis: ModelAxis,
    generator: ClipGenerator,
    inputs: InferenceInput,
    start: int,
    stop: int,
    on_progress: ProgressCallback | None = None,
    bands: Bands | None = None,
) -> Waveform:
    """Samples of the recording made anew in mono from one prompt, (1, stop - start).

    Args:
        axis, generator, inputs, on_progress: see `remade`; the prompt is that of the start.
        start, stop: samples at the recording's rate.
        bands: which mel bands are made anew; None for all.
    """
    # A frame more on both sides: the samples may start and end between two frames.
    first = max(0, axis.frame_at(start) - 1)
    section = Section(
        first,
        max(first + 1, min(axis.frame_at(stop) + 1, axis.num_frames)),
        bands,
        continues_before=start > 0,
        continues_after=stop < axis.recording.num_samples,
    )
    prompts = [PromptAtFrame(first, inputs.start.prompt)]
    made = remade(axis, generator, inputs, prompts, section, on_progress)
    return np.concatenate(list(axis.at_recordings_rate(made, first, start, stop)), axis=1)


def canvas_columns(axis: ModelAxis, images: CanvasImages, section: Section) -> tuple[int, int]:
    """First column and number of columns that the model sees: the section with its surroundings.

    They are at least a clip; what is beyond the recording's end is silence.
    """
    factor = images.frames_per_column
    context = math.ceil(CONTEXT_S * 1000 / axis.params.step_size_ms)
    first = section.first - (context if section.continues_before else 0)
    last = section.last + (context if section.continues_after else 0)
    start, stop = max(0, first // factor), -(-last // factor)
    missing = max(0, images.columns_of_clip - (stop - start))
    available = -(-axis.num_frames // factor)
    start = max(0, min(start - missing // 2, available - images.columns_of_clip))
    return start, max(stop - start, images.columns_of_clip)


def level_of_black(axis: ModelAxis, section: Section, begin: int, end: int) -> FloatArray:
    """Amplitude of black in each frame: that of the loudest moment around it, (end - begin,).

    A section that is made anew as a whole doesn't count, but what is beside it. If that is silent,
    the level is that of images without one of their own.
    """
    peaks = np.concatenate(
        [
            axis.amplitudes(first, min(_FRAMES_AT_ONCE, end - first)).max(0)
            for first in range(begin, end, _FRAMES_AT_ONCE)
        ]
    )
    is_replaced = np.zeros(len(peaks), bool)
    if section.bands is None and section.has_surroundings:
        is_replaced[section.first - begin : section.last - begin] = True
    peaks[is_replaced] = 0
    radius = round(_LOUDEST_WITHIN_S * axis.params.sample_rate / axis.params.hop_length)
    loudest = scipy.ndimage.maximum_filter1d(peaks, 2 * radius + 1, mode="constant")
    heard = np.flatnonzero(loudest > _QUIETEST * max(float(loudest.max()), 1e-9))
    if not len(heard) and section.has_surroundings:
        return np.full(len(peaks), DEFAULT_MAX_VALUE, np.float32)
    if len(heard):
        loudest = np.interp(np.arange(len(loudest)), heard, loudest[heard])
    # An average over no more than the radius is at least the loudness of its middle.
    smooth = scipy.ndimage.uniform_filter1d(loudest, radius, mode="nearest")
    return np.asarray(np.maximum(smooth, _QUIETEST * DEFAULT_MAX_VALUE), np.float32)


def _repaint(
    images: CanvasImages, axis: ModelAxis, section: Section, begin: int, end: int
) -> torch.Tensor:
    """Share of repainting per latent of the frames from `begin` up to `end`."""
    bands, frames = np.ones(axis.params.num_frequencies), np.zeros(end - begin)
    if section.bands is not None:
        bands = section.bands.astype(np.float64)
    frames[section.first - begin : section.last - begin] = 1
    return images.repaint(bands.astype(np.float32), frames.astype(np.float32))
