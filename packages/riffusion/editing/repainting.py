"""Repaint: a section of a recording, or a band of it, is replaced by what a text says."""

import math
from collections.abc import Iterator

import numpy as np

from riffusion.audio.filtering import band_kernel, filtered
from riffusion.audio.recording import Recording
from riffusion.audio.waveform import Waveform
from riffusion.datatypes import InferenceInput
from riffusion.diffusion.stages import ProgressCallback
from riffusion.editing.balance import Levels, balance
from riffusion.editing.model_axis import ModelAxis
from riffusion.editing.regions import Region
from riffusion.editing.remaking import remade_samples
from riffusion.editing.splicing import New, Part, replacing
from riffusion.editing.surroundings import CONTEXT_S, Bands
from riffusion.errors import InputError
from riffusion.generation.generator import ClipGenerator
from riffusion.spectrogram.mel_scale import mel_row_frequencies_hz
from riffusion.spectrogram.params import SpectrogramParams


def repaint(
    recording: Recording,
    generator: ClipGenerator,
    inputs: InferenceInput,
    region: Region,
    on_progress: ProgressCallback | None = None,
) -> list[Part]:
    """Regenerate a region of a recording; everything else stays as it is.

    Args:
        recording: the recording.
        generator: its checkpoint makes the region.
        inputs: prompt, seed, negative prompt, denoising (1 replaces all of it, less keeps some),
            guidance, scheduler and steps, of its start.
        region: section, or band of a section.
        on_progress: called with (steps done, number of steps).

    Returns:
        Parts for `splicing.write_spliced`, which computes the sound.

    Raises:
        InputError: the region isn't inside the recording, the model knows none of its frequencies,
            or the request is invalid.
    """
    start, stop = region.samples_of(recording)
    generator.check(inputs)
    axis = ModelAxis(recording, generator.converter)
    bands = check_band(axis.params, region)
    made = remade_samples(axis, generator, inputs, start, stop, on_progress, bands)
    if region.is_band:
        new = _mixed_in(recording, start, made, region)
    else:
        levels = balance_around(recording, start, stop)
        new = (part * levels for part in made)
    return replacing(recording, start, stop, New(new))


def check_band(params: SpectrogramParams, region: Region) -> Bands | None:
    """Which mel bands are in the region; None if it isn't a band of pitches.

    Raises:
        InputError: none is.
    """
    if not region.is_band:
        return None
    hz = mel_row_frequencies_hz(params)
    low, high = region.low_hz or 0.0, math.inf if region.high_hz is None else region.high_hz
    bands: Bands = (hz >= low) & (hz <= high)
    if not bands.any():
        name, wrong = ("high_hz", high) if region.low_hz is None else ("low_hz", low)
        until = "" if math.isinf(high) else f" to {high:g} Hz"
        raise InputError(
            f"{wrong:g}: none of the model's {len(hz)} frequencies, from {hz[0]:.0f} to "
            f"{hz[-1]:.0f} Hz, is in the band from {low:g} Hz on{until}; choose a wider one, or "
            "another",
            name,
        )
    return bands


def balance_around(recording: Recording, start: int, stop: int) -> Levels:
    """Level of each channel relative to their mean, as it is around the region: (channels, 1)."""
    around = round(CONTEXT_S * recording.sample_rate)
    sides = [
        recording.waveform(max(0, start - around), start),
        recording.waveform(stop, min(stop + around, recording.num_samples)),
    ]
    return balance(np.concatenate(sides, axis=1))[:, None]


def _mixed_in(
    recording: Recording, start: int, made: Iterator[Waveform], region: Region
) -> Iterator[Waveform]:
    """The recording from `start` on with new sound in mono in the region's band, part by part."""

    def changes() -> Iterator[Waveform]:
        position = start
        for part in made:
            stop = position + part.shape[1]
            yield part - recording.waveform(position, stop).mean(0, keepdims=True)
            position = stop

    position = start
    kernel = band_kernel(region.low_hz, region.high_hz, recording.sample_rate)
    for change in filtered(changes(), kernel):
        stop = position + change.shape[1]
        yield recording.waveform(position, stop) + change
        position = stop
