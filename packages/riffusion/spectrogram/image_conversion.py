"""Spectrogram images with other parameters: pitch and length stay, rows and columns change.

An image with recorded parameters says which frequency each row has and how long each column lasts.
A checkpoint reads images with its own parameters, so another image is converted:

    pixels ─▶ mel amplitudes ─▶ one or two channels ─▶ frames of the other step ─▶ bins ─▶ mel bands

Columns are interpolated between frames, since a frame is what an analysis at its time gives,
whatever the step. Rows go through the bins of an FFT: magnitudes that have the image's mel bands
are estimated, and the other filterbank is applied to them. So any range, number, scale and norm of
bands becomes any other. Frequencies outside the new range are lost, as in an analysis of the audio.
Window and FFT length affect only how sharp an image is and stay as they are.
"""

import dataclasses
import logging

import numpy as np
from PIL import Image

from riffusion.errors import RecordedParamsError
from riffusion.spectrogram.filterbank import mel_filterbank
from riffusion.spectrogram.image import (
    FloatArray,
    image_from_spectrogram,
    rgb_image,
    spectrogram_from_image,
)
from riffusion.spectrogram.inversion.filterbank import MelFilterbank
from riffusion.spectrogram.mel_scale import mel_row_frequencies_hz
from riffusion.spectrogram.operations import NumpyOperations
from riffusion.spectrogram.params import SpectrogramParams

logger = logging.getLogger(__name__)

INAUDIBLE = 1e-4
"""Share of the power, −40 dB, below which the rest of an image counts as nothing."""

_SCALE_FIELDS = ("min_frequency", "max_frequency", "mel_scale_type")
_BAND_FIELDS = ("num_frequencies", *_SCALE_FIELDS, "mel_scale_norm")
_FIELDS = ("stereo", "step_size_ms", *_BAND_FIELDS, "power_for_image")
_NUM_UPDATES = 30
"""Enough for a sine to keep its band when the number of bands doubles."""
_FRAMES_PER_BLOCK = 512
"""Frames converted at once; limits the memory for long images."""


def convert_image(
    image: Image.Image, params: SpectrogramParams, wanted: SpectrogramParams
) -> Image.Image:
    """Convert an image to other parameters; one that has them already keeps its pixels.

    Stereo becomes mono as the mean of the channels' amplitudes, and mono becomes two equal
    channels. The darkest pixel stays as dark as it was.

    Args:
        image: an image of any mode and height.
        params: parameters that it was made with.
        wanted: parameters of the result.

    Returns:
        An RGB image, `wanted.num_frequencies` high, which lasts as long as `image` to the nearest
        frame, and at least one frame.

    Raises:
        RecordedParamsError: all that is audible in it is outside the range of `wanted`.
        MediaError: the image's data is damaged.
    """
    pixels = rgb_image(image)
    changes = [
        f"{name}={getattr(params, name)} to {getattr(wanted, name)}"
        for name in _FIELDS
        if getattr(params, name) != getattr(wanted, name)
    ]
    if not changes and _frame_s(params) == _frame_s(wanted):
        return _with_rows(pixels, wanted.num_frequencies)
    amplitudes = spectrogram_from_image(
        _with_rows(pixels, params.num_frequencies),
        power=params.power_for_image,
        stereo=params.stereo,
        max_value=1.0,
    )
    loudest = float(amplitudes.max())
    if params.stereo and not wanted.stereo:
        amplitudes = amplitudes.mean(0, keepdims=True)
    amplitudes = _with_frames(amplitudes, _frame_s(params), _frame_s(wanted))
    if any(getattr(params, name) != getattr(wanted, name) for name in _BAND_FIELDS):
        amplitudes = _with_bands(amplitudes, params, wanted)
    if wanted.stereo and not params.stereo:
        amplitudes = amplitudes.repeat(2, axis=0)
    if changes:
        logger.warning("the image is converted from %s", ", ".join(changes))
    return image_from_spectrogram(amplitudes, wanted.power_for_image, darkest=loudest)


def convert_mask(
    mask: Image.Image, params: SpectrogramParams, wanted: SpectrogramParams
) -> Image.Image:
    """Move the rows of a mask to where the conversion of its image moves the frequencies.

    Args:
        mask: an RGB mask of any size that covers an image with `params`.
        params: parameters of that image.
        wanted: parameters of the converted image.

    Returns:
        A mask of any size that covers the converted image. Frequencies beyond the range of `params`
        continue its edge.
    """
    if all(getattr(params, name) == getattr(wanted, name) for name in _SCALE_FIELDS):
        return mask
    own_hz, wanted_hz = mel_row_frequencies_hz(params), mel_row_frequencies_hz(wanted)
    band = np.interp(wanted_hz, own_hz, np.arange(own_hz.size))
    from_bottom = ((band + 0.5) * (mask.height / own_hz.size)).astype(int)
    rows = mask.height - 1 - from_bottom.clip(max=mask.height - 1)
    return Image.fromarray(np.ascontiguousarray(np.asarray(mask)[rows[::-1]]))


def _frame_s(params: SpectrogramParams) -> float:
    """Duration of a frame in seconds: whole samples, so at some rates not exactly the step."""
    return params.hop_length / params.sample_rate


def _with_rows(pixels: Image.Image, num_rows: int) -> Image.Image:
    if pixels.height == num_rows:
        return pixels
    return pixels.resize((pixels.width, num_rows), Image.Resampling.LANCZOS)


def _with_frames(amplitudes: FloatArray, frame_s: float, wanted_s: float) -> FloatArray:
    """Interpolate (channels, frequency, time) linearly at the times of frames of `wanted_s`."""
    num_frames = amplitudes.shape[-1]
    num_wanted = max(1, round(num_frames * frame_s / wanted_s))
    position = (np.arange(num_wanted) * (wanted_s / frame_s)).clip(max=num_frames - 1)
    below = position.astype(int)
    above = np.minimum(below + 1, num_frames - 1)
    share = (position - below).astype(np.float32)
    frames: FloatArray = amplitudes[..., below] * (1 - share) + amplitudes[..., above] * share
    return frames


def _with_bands(
    amplitudes: FloatArray, params: SpectrogramParams, wanted: SpectrogramParams
) -> FloatArray:
    """Mel bands of `wanted` for those of `params`, (channels, frequency, time)."""
    # Both filterbanks on the bins of one FFT, which is fine enough for either.
    rate = max(params.sample_rate, wanted.sample_rate)
    padded_ms = max(params.padded_duration_ms, wanted.padded_duration_ms)
    source = dataclasses.replace(params, sample_rate=rate, padded_duration_ms=padded_ms)
    target = dataclasses.replace(wanted, sample_rate=rate, padded_duration_ms=padded_ms)
    bin_hz, num_bins = rate / source.n_fft, source.n_fft // 2 + 1
    filterbank = MelFilterbank(source, bin_hz, num_bins, NumpyOperations())
    target_bands = MelFilterbank(target, bin_hz, num_bins, NumpyOperations())
    is_inside = mel_filterbank(target).any(1)
    power = power_inside = 0.0
    num_channels, _, num_frames = amplitudes.shape
    rows = amplitudes.transpose(0, 2, 1).reshape(num_channels * num_frames, -1)
    blocks = []
    for first in range(0, len(rows), _FRAMES_PER_BLOCK):
        block = rows[first : first + _FRAMES_PER_BLOCK]
        magnitudes = filterbank.magnitudes_from_mel(block, _NUM_UPDATES)
        power += float(np.square(magnitudes).sum())
        power_inside += float(np.square(magnitudes[:, is_inside]).sum())
        blocks.append(target_bands.mel_from_magnitudes(magnitudes))
    if power_inside < INAUDIBLE * power:
        raise RecordedParamsError(
            f"all that is audible in the image is outside min_frequency={wanted.min_frequency} to "
            f"max_frequency={wanted.max_frequency} Hz, the checkpoint's range; its EXIF says "
            f"{params.min_frequency} to {params.max_frequency} Hz; use another image"
        )
    mel = np.concatenate(blocks).reshape(num_channels, num_frames, -1)
    converted: FloatArray = np.ascontiguousarray(mel.transpose(0, 2, 1))
    return converted
