"""A section of a recording made anew by a checkpoint, of any length and with bounded memory.

    mel amplitudes ─▶ latents ─▶ canvas: noise, denoised in windows ─▶ mel amplitudes ─▶ sound

Everything but the latents, which are small, is computed part by part.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch

from riffusion.audio.waveform import Waveform
from riffusion.datatypes import InferenceInput
from riffusion.diffusion.canvas import CanvasPlan, PromptAt
from riffusion.diffusion.magic_mix import MagicMix
from riffusion.diffusion.pipeline import ProgressCallback
from riffusion.editing.canvas_images import CanvasImages
from riffusion.editing.dynamics import Dynamics
from riffusion.editing.model_axis import ModelAxis
from riffusion.editing.rendering import Target, rendered
from riffusion.editing.surroundings import Bands, Section, extent, heard_around, level_of_black
from riffusion.generation.generator import ClipGenerator

FloatArray = npt.NDArray[np.float32]

BEATS_COURSE = 0.6
"""How much of the course in time edits keep that keep the beat. With the embedded checkpoint and a
denoising of 0.5, the onsets of a restyled song correlate with its own by 0.7 to 0.9 in place of 0.2
to 0.4; with 0.9 by 0.95, but tags of the new sound are heard less surely."""
_HELD_FRAMES = 2048
"""Sections and surroundings of so many frames at most are computed once and kept: 4 MB."""
_BLOCK_FRAMES = 1024
"""Frames that are decoded together: 2 MB."""


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
    course: float = 0.0,
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
        course: how much of its course in time is kept, from 0 to 1; see `CourseInTime`.

    Yields:
        (1, samples) at the model's rate; all together have the section's frames.
    """
    images = CanvasImages(generator)
    factor = images.frames_per_column
    seen = extent(axis, images, section)
    begin, end = factor * seen.column, factor * (seen.column + seen.num_columns)
    first, last = heard_around(axis, section)
    if max(end, last) - min(begin, first) <= _HELD_FRAMES:
        axis.hold(min(begin, first), max(end, last))
    level = level_of_black(axis, section, begin, end)
    source = axis.amplitudes, begin, seen.num_columns, level
    if inputs.start.denoising == 1 and section.is_replaced:
        init = images.latents_around(*source, hole=_inside(section, begin, factor))
    else:
        init = images.latents(*source)
    points = [PromptAt(at.frame / factor - seen.column, at.prompt) for at in prompts]
    repaint = _repaint(images, axis, section, begin, end) if section.has_surroundings else None
    plan = CanvasPlan(init, points, repaint, seen.column, window=seen.window, course=course)
    if mix is not None:
        plan = replace(plan, repaint=mix.repaint, free_share=mix.low)
    made = generator.canvas(inputs, plan, on_progress)

    def decoded(first: int, num_frames: int) -> FloatArray:
        """Frames of the section as they were made."""
        return images.frames(made, first - begin, first - begin + num_frames, level)

    drawn = _in_blocks(decoded, section.first, section.last)
    dynamics = Dynamics(
        axis.params,
        axis.amplitudes,
        drawn,
        section.first,
        section.last,
        section.bands,
        around=(first, last) if section.has_surroundings else None,
    )

    def target(first: int, num_frames: int) -> FloatArray:
        """Frames of the section as they were made, and others as they are."""
        found = axis.amplitudes(first, num_frames)
        start, stop = max(first, section.first), min(first + num_frames, section.last)
        if start < stop:
            new = drawn(start, stop - start) * dynamics.gains(start, stop - start)
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
    course: float = 0.0,
) -> Iterator[Waveform]:
    """Samples of the recording made anew in mono from one prompt.

    Args:
        axis, generator, inputs, on_progress, course: see `remade`; the prompt is that of the start.
        start, stop: samples at the recording's rate.
        bands: which mel bands are made anew; None for all.

    Yields:
        (1, samples) each; all together have `stop - start`. The diffusion runs before the first.
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
    made = remade(axis, generator, inputs, prompts, section, on_progress, course=course)
    return axis.at_recordings_rate(made, first, start, stop)


def _in_blocks(source: Target, first: int, last: int) -> Target:
    """The same frames, computed in blocks of which the last few are kept: each is decoded once."""

    @lru_cache(maxsize=3)
    def block(index: int) -> FloatArray:
        begin = first + index * _BLOCK_FRAMES
        return source(begin, min(_BLOCK_FRAMES, last - begin))

    def frames(start: int, num_frames: int) -> FloatArray:
        begin, end = start - first, start - first + num_frames
        indices = range(begin // _BLOCK_FRAMES, -(-end // _BLOCK_FRAMES))
        found = np.concatenate([block(index) for index in indices], axis=1)
        return found[:, begin - indices.start * _BLOCK_FRAMES :][:, :num_frames]

    return frames


def _inside(section: Section, begin: int, factor: int) -> range:
    """Columns that are in the section as a whole, counted from the frame `begin`."""
    return range(-((begin - section.first) // factor), (section.last - begin) // factor)


def _repaint(
    images: CanvasImages, axis: ModelAxis, section: Section, begin: int, end: int
) -> torch.Tensor:
    """Share of repainting per latent of the frames from `begin` up to `end`."""
    bands, frames = np.ones(axis.params.num_frequencies), np.zeros(end - begin)
    if section.bands is not None:
        bands = section.bands.astype(np.float64)
    frames[section.first - begin : section.last - begin] = 1
    return images.repaint(bands.astype(np.float32), frames.astype(np.float32))
