"""Repaint: a section of a recording, or a band of it, is made anew from a text."""

import math

import numpy as np

from riffusion.audio.recording import Recording
from riffusion.audio.waveform import Waveform
from riffusion.datatypes import InferenceInput
from riffusion.diffusion.pipeline import ProgressCallback
from riffusion.editing.balance import Levels, balance
from riffusion.editing.model_axis import ModelAxis
from riffusion.editing.regions import Region
from riffusion.editing.remaking import CONTEXT_S, Bands, remade_samples
from riffusion.editing.splicing import New, Part, replacing
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
    """Make a region of a recording anew; everything else stays as it is.

    Args:
        recording: the recording.
        generator: its checkpoint makes the region.
        inputs: prompt, seed, negative prompt, denoising (1 makes it anew, less keeps some of it),
            guidance, scheduler and steps, of its start.
        region: section, or band of a section.
        on_progress: called with (steps done, number of steps).

    Returns:
        Parts for `splicing.write_spliced`.

    Raises:
        InputError: the region isn't inside the recording, the model knows none of its frequencies,
            or the request is invalid.
    """
    start, stop = region.samples_of(recording)
    generator.check(inputs)
    axis = ModelAxis(recording, generator.converter)
    bands = check_band(axis.params, region)
    waveform = remade_samples(axis, generator, inputs, start, stop, on_progress, bands)
    if region.is_band:
        original = recording.waveform(start, stop)
        difference = waveform - original.mean(0, keepdims=True)
        new = original + _in_band(difference, recording.sample_rate, region)
    else:
        new = waveform * balance_around(recording, start, stop)
    return replacing(recording, start, stop, New(new.astype(np.float32)))


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


def _in_band(waveform: Waveform, sample_rate: int, region: Region) -> Waveform:
    """The part of a waveform within the region's band; the phases stay."""
    spectrum = np.fft.rfft(waveform)
    hz = np.fft.rfftfreq(waveform.shape[1], 1 / sample_rate)
    high = math.inf if region.high_hz is None else region.high_hz
    spectrum[:, (hz < (region.low_hz or 0.0)) | (hz > high)] = 0
    return np.asarray(np.fft.irfft(spectrum, waveform.shape[1]), np.float32)
