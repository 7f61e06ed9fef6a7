"""Recording → PNG images of its slices."""

import io
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from riffusion.audio import AudioSegment, Waveform, resample, with_channels
from riffusion.audio.pcm import Samples
from riffusion.audio.segments import samples_from_segment
from riffusion.datasets.from_audio.options import SliceOptions
from riffusion.datasets.from_audio.slicing import (
    Reason,
    Slice,
    beat_slices,
    clipped_share,
    cut,
    even_slices,
    level_db,
)
from riffusion.spectrogram.converter import SpectrogramConverter
from riffusion.spectrogram.image_converter import image_from_mel_amplitudes
from riffusion.spectrogram.stretching import stretch

_SAMPLES_PER_BLOCK = 2**18
"""Samples mixed at once; a block of stereo fits into a processor's cache."""
_PNG_OPTIONS = {"compress_level": 3, "compress_type": zlib.Z_RLE}
"""Run-length and Huffman coding only: spectrograms are noisy and have hardly any repeats to search
for, so files are as small as at the default level, in a seventh of the time."""


@dataclass(frozen=True)
class SliceImage:
    """A slice's image as PNG: grey if mono, else left in G and right in B."""

    slice: Slice
    png: bytes


class ImageMaker:
    """Cuts recordings into slices and converts them to images, all with one converter.

    Args:
        options: the options for all recordings.
    """

    def __init__(self, options: SliceOptions) -> None:
        self.options = options
        self.params = options.image.params
        self._converter = SpectrogramConverter(self.params, device="cpu")
        self.left_out: Counter[Reason] = Counter()
        """Number of slices of the last recording that were left out, by reason."""

    def images(self, segment: AudioSegment) -> Iterator[SliceImage]:
        """Yield the images of a recording's slices, in order; none if it is too short.

        Raises:
            InputError: slices are cut on beats, and no beats were found.
        """
        self.left_out = Counter()
        samples = samples_from_segment(segment)
        rate = self.params.sample_rate
        mixed = _mixed(samples, 2 if self.params.stereo else 1)
        waveform = resample(mixed, segment.frame_rate, rate)
        for part in self._slices(waveform):
            num_samples = self.params.num_samples(part.num_frames)
            audible = waveform[:, part.start : part.start + num_samples]
            stop = part.start + audible.shape[1]
            first, last = (at * segment.frame_rate // rate for at in (part.start, stop))
            reason = self._reason_to_leave_out(audible, samples[:, first:last])
            if reason is None:
                yield SliceImage(part, self._png(cut(waveform, part.start, num_samples)))
            else:
                self.left_out[reason] += 1

    def _slices(self, waveform: Waveform) -> list[Slice]:
        options = self.options
        if options.beats is not None:
            return beat_slices(waveform, options.image, options.beats, options.overlap)
        return even_slices(waveform.shape[1], options.image, options.overlap, options.keep_rest)

    def _reason_to_leave_out(self, audible: Waveform, samples: Samples) -> Reason | None:
        """Why a slice is left out; None if it is kept.

        Args:
            audible: the slice as it is converted to an image.
            samples: the same part of the file, at the file's own rate and channels.
        """
        if level_db(audible) < self.options.silence_db:
            return "silent"
        return "clipped" if clipped_share(samples) > self.options.max_clipping else None

    def _png(self, waveform: Waveform) -> bytes:
        """PNG of a slice (channels, samples), with parameters and maximum value in its EXIF."""
        amplitudes = self._converter.spectrogram_from_waveform(waveform)
        if amplitudes.shape[-1] != self.options.image.width:
            amplitudes = stretch(amplitudes, self.options.image.width)
        image = image_from_mel_amplitudes(amplitudes, self.params)
        planes = image if self.params.stereo else image.getchannel(0)
        stream = io.BytesIO()
        planes.save(stream, "PNG", exif=image.info["exif"], **_PNG_OPTIONS)
        return stream.getvalue()


def _mixed(samples: Samples, num_channels: int) -> Waveform:
    """Integer samples (any, samples) → waveform (num_channels, samples).

    Works in blocks to save memory.
    """
    scale = np.float32(-1 / np.iinfo(samples.dtype).min)
    mixed = np.empty((num_channels, samples.shape[1]), dtype=np.float32)
    for first in range(0, samples.shape[1], _SAMPLES_PER_BLOCK):
        block = np.ascontiguousarray(samples[:, first : first + _SAMPLES_PER_BLOCK])
        waveform = block.astype(np.float32) * scale
        mixed[:, first : first + _SAMPLES_PER_BLOCK] = with_channels(waveform, num_channels)
    return mixed
