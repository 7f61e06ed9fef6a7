"""Repaint: a section of a recording, or a band of it, is made anew from a text."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from riffusion.audio.recording import Recording
from riffusion.audio.waveform import Waveform
from riffusion.datatypes import InferenceInput
from riffusion.diffusion.canvas import CanvasPlan, PromptAt
from riffusion.editing.canvas_images import CanvasImages
from riffusion.editing.model_axis import ModelAxis
from riffusion.editing.regions import Region
from riffusion.editing.rendering import rendered
from riffusion.editing.splicing import New, Part, replacing
from riffusion.generation.generator import ClipGenerator
from riffusion.spectrogram.image import DEFAULT_MAX_VALUE
from riffusion.spectrogram.mel_scale import mel_row_frequencies_hz

FloatArray = npt.NDArray[np.float32]

_CONTEXT_S = 1.28
"""Sound on both sides that the model sees at least."""
_QUIETEST = 1e-3
"""Lowest level relative to a full-scale recording: -60 dB."""


@dataclass(frozen=True)
class _Excerpt:
    """What the model sees: whole columns around the region.

    Args:
        first: first frame, a multiple of the frames in a column.
        amplitudes: (bands, frames).
        repaint: share of repainting, (bands, frames).
        level: amplitude of black.
    """

    first: int
    amplitudes: FloatArray
    repaint: FloatArray
    level: float


def repaint(
    recording: Recording,
    generator: ClipGenerator,
    inputs: InferenceInput,
    region: Region,
    on_progress: Callable[[int, int], None] | None = None,
) -> list[Part]:
    """Make a region of a recording anew; everything else stays as it is.

    Args:
        recording: the recording.
        generator: its checkpoint makes the region.
        inputs: prompt, seed, negative prompt, denoising (1 makes all of it anew), guidance,
            scheduler and steps, of its start.
        region: section, or band of a section.
        on_progress: called with (steps done, number of steps).

    Returns:
        Parts for `splicing.write_spliced`.

    Raises:
        InputError: the region isn't inside the recording, or the request is invalid.
        GenerationCancelled: `on_progress` raised it.
    """
    start, stop = region.samples_of(recording)
    generator.check(inputs)
    axis = ModelAxis(recording, generator.converter)
    images = CanvasImages(generator.pipeline)
    excerpt = _excerpt(axis, images, region, start, stop)
    made = _made(generator, images, excerpt, inputs, on_progress)
    waveform = _sound(axis, excerpt, made, start, stop)
    original = recording.waveform(start, stop)
    if region.is_band:
        difference = waveform - original.mean(0, keepdims=True)
        new = original + _in_band(difference, recording.sample_rate, region)
    else:
        new = waveform * _balance(recording, start, stop)
    return replacing(recording, start, stop, New(new.astype(np.float32)))


def _excerpt(
    axis: ModelAxis, images: CanvasImages, region: Region, start: int, stop: int
) -> _Excerpt:
    """The region with its surroundings, at least a clip."""
    factor, params = images.frames_per_column, axis.params
    first, last = axis.frame_at(start), axis.frame_at(stop)
    context = math.ceil(_CONTEXT_S * 1000 / params.step_size_ms)
    num_columns = max(images.columns_of_clip, -(-(last - first + 2 * context) // factor) + 1)
    middle = (first + last) // 2
    latest = -(-axis.num_frames // factor) - num_columns
    column = max(0, min(middle // factor - num_columns // 2, latest))
    begin, num_frames = column * factor, num_columns * factor
    amplitudes = axis.amplitudes(begin, num_frames)
    mask = np.zeros_like(amplitudes)
    mask[_bands(axis, region), first - begin : last - begin] = 1
    floor = _QUIETEST * DEFAULT_MAX_VALUE
    level = max(floor, float((amplitudes * (1 - mask)).max()))
    return _Excerpt(begin, amplitudes, mask, level)


def _bands(axis: ModelAxis, region: Region) -> npt.NDArray[np.bool_]:
    """Which mel bands are in the region."""
    hz = mel_row_frequencies_hz(axis.params)
    high = math.inf if region.high_hz is None else region.high_hz
    return np.asarray((hz >= (region.low_hz or 0.0)) & (hz <= high))


def _made(
    generator: ClipGenerator,
    images: CanvasImages,
    excerpt: _Excerpt,
    inputs: InferenceInput,
    on_progress: Callable[[int, int], None] | None,
) -> FloatArray:
    """Mel amplitudes of the excerpt with the region made anew."""
    level = np.array([excerpt.level], np.float32)
    engine = generator.engine
    latents = engine.call(lambda: images.latents(excerpt.amplitudes, level)).result()
    repaint = images.repaint(excerpt.repaint)
    prompts = [PromptAt(0, inputs.start.prompt)]
    plan = CanvasPlan(latents, prompts, repaint, excerpt.first // images.frames_per_column)
    made = generator.canvas(inputs, plan, on_progress)
    return engine.call(lambda: images.amplitudes(made, level)).result()


def _sound(axis: ModelAxis, excerpt: _Excerpt, made: FloatArray, start: int, stop: int) -> Waveform:
    """The region's samples in mono at the recording's rate, (1, stop - start)."""
    target = excerpt.amplitudes + excerpt.repaint * (made - excerpt.amplitudes)
    first, last = axis.frame_at(start) - 1, axis.frame_at(stop) + 1
    first, last = max(0, first), max(last, first + 2)

    def amplitudes(begin: int, num_frames: int) -> FloatArray:
        offset = begin - excerpt.first
        inside = target[:, max(0, offset) : max(0, offset + num_frames)]
        before = axis.amplitudes(begin, max(0, min(num_frames, -offset)))
        rest = num_frames - before.shape[1] - inside.shape[1]
        return np.concatenate(
            [before, inside, axis.amplitudes(begin + num_frames - rest, rest)], axis=1
        )

    parts: Iterator[Waveform] = rendered(
        axis,
        amplitudes,
        first,
        last - first,
        continues_before=start > 0,
        continues_after=stop < axis.recording.num_samples,
    )
    return axis.at_recordings_rate(np.concatenate(list(parts), axis=1), first, start, stop)


def _balance(recording: Recording, start: int, stop: int) -> FloatArray:
    """Level of each channel relative to their mean, as it is around the region: (channels, 1)."""
    around = round(_CONTEXT_S * recording.sample_rate)
    sides = [
        recording.waveform(max(0, start - around), start),
        recording.waveform(stop, min(stop + around, recording.num_samples)),
    ]
    heard = np.concatenate(sides, axis=1)
    mono = float(np.sqrt(np.mean(heard.mean(0) ** 2))) if heard.shape[1] else 0.0
    if mono == 0:
        return np.ones((recording.num_channels, 1), np.float32)
    channels = np.sqrt(np.mean(heard**2, axis=1, keepdims=True))
    return np.clip(channels / mono, 0.25, 4.0).astype(np.float32)


def _in_band(waveform: Waveform, sample_rate: int, region: Region) -> Waveform:
    """The part of a waveform within the region's band; the phases stay."""
    spectrum = np.fft.rfft(waveform)
    hz = np.fft.rfftfreq(waveform.shape[1], 1 / sample_rate)
    high = math.inf if region.high_hz is None else region.high_hz
    spectrum[:, (hz < (region.low_hz or 0.0)) | (hz > high)] = 0
    filtered: Waveform = np.fft.irfft(spectrum, waveform.shape[1]).astype(np.float32)
    return filtered
