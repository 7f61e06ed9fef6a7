"""pydub's AudioSegment, the type of audio in upstream's API, and its conversions.

pydub is imported here and nowhere else, and only its class is used: nothing that starts a process.
An AudioSegment holds signed integers of 1, 2 or 4 bytes; full scale is 2^(bits - 1).
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from riffusion.audio.pcm import (
    SAMPLE_TYPES,
    Pcm,
    Samples,
    samples_from_waveform,
    waveform_from_samples,
)
from riffusion.audio.waveform import Audio, Waveform, as_waveform, check_sample_rate

with warnings.catch_warnings():
    # pydub's source has invalid escapes and imports audioop, and it warns where no ffmpeg program
    # is installed; none is needed here.
    warnings.simplefilter("ignore")
    from pydub import AudioSegment

if TYPE_CHECKING:
    import torch

__all__ = [
    "AudioSegment",
    "audio_from_segment",
    "convert",
    "num_samples",
    "pcm_from_audio",
    "samples_from_segment",
    "segment_from_audio",
    "segment_from_samples",
    "segment_from_waveform",
    "waveform_from_segment",
]


def audio_from_segment(segment: AudioSegment) -> Audio:
    """The segment's waveform and sample rate; `waveform_from_segment` says what is lost."""
    return Audio(waveform_from_segment(segment), segment.frame_rate)


def segment_from_audio(audio: Audio, *, sample_width: int = 2) -> AudioSegment:
    """A segment of `audio`, rounded to integers as in `segment_from_waveform`.

    Raises:
        InputError: a value that isn't finite, or a width other than 1, 2 and 4.
    """
    return segment_from_waveform(audio.waveform, audio.sample_rate, sample_width=sample_width)


def pcm_from_audio(audio: Audio | AudioSegment | Pcm) -> Pcm:
    """The audio's own samples, or a waveform rounded to 16 bits.

    Raises:
        InputError: a value of the waveform isn't finite.
    """
    if isinstance(audio, Pcm):
        return audio
    if isinstance(audio, Audio):
        return Pcm(samples_from_waveform(audio.waveform), audio.sample_rate)
    return Pcm(samples_from_segment(audio), audio.frame_rate)


def segment_from_waveform(
    waveform: npt.NDArray[np.floating] | torch.Tensor, sample_rate: int, *, sample_width: int = 2
) -> AudioSegment:
    """Round a waveform to integers; values beyond full scale clip, they never wrap around.

    Args:
        waveform: (channels, samples), floats in [-1, 1].
        sample_rate: in Hz.
        sample_width: bytes per sample of the result: 1, 2 or 4.

    Raises:
        InputError: wrong shape or type, a value that isn't finite, or a rate out of range.
    """
    array = as_waveform(waveform)
    check_sample_rate("sample_rate", sample_rate)
    return segment_from_samples(samples_from_waveform(array, sample_width), sample_rate)


def waveform_from_segment(segment: AudioSegment) -> Waveform:
    """The waveform of a segment of any channel count and sample width, float32 in [-1, 1].

    `segment_from_waveform` with the segment's sample width is the exact inverse up to 16 bits;
    of 32 bits, float32 keeps 24.
    """
    return waveform_from_samples(samples_from_segment(segment))


def samples_from_segment(segment: AudioSegment) -> Samples:
    """The segment's integers, (channels, samples), in the segment's sample width."""
    dtype = SAMPLE_TYPES[segment.sample_width]
    return np.frombuffer(segment.raw_data, dtype=dtype).reshape(-1, segment.channels).T


def segment_from_samples(samples: Samples, sample_rate: int) -> AudioSegment:
    """A segment of int8, int16 or int32 samples, (channels, samples); exact."""
    return AudioSegment(
        np.ascontiguousarray(samples.T).tobytes(),
        sample_width=samples.dtype.itemsize,
        frame_rate=int(sample_rate),
        channels=samples.shape[0],
    )


def num_samples(segment: AudioSegment) -> int:
    """Samples per channel, exact (pydub's `len` is in rounded milliseconds)."""
    return len(segment.raw_data) // int(segment.sample_width * segment.channels)


def convert(
    segment: AudioSegment, *, sample_rate: int | None = None, channels: int | None = None
) -> AudioSegment:
    """The segment at another sample rate, in mono (1) or stereo (2); its sample width stays.

    Raises:
        InputError: as `resample` and `with_channels`.
    """
    pcm = pcm_from_audio(segment)
    converted = pcm.converted(
        sample_rate or segment.frame_rate, segment.channels if channels is None else channels
    )
    if converted is pcm:
        return segment
    return segment_from_samples(converted.samples, converted.sample_rate)
