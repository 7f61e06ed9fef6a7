"""The spectrogram image of a part of a recording, as a checkpoint's images are."""

import numpy as np
from PIL import Image

from riffusion.editing.model_axis import ModelAxis
from riffusion.editing.sound import Sound
from riffusion.spectrogram.converter import SpectrogramConverter
from riffusion.spectrogram.image_converter import image_from_mel_amplitudes

_FRAMES_AT_ONCE = 1024
"""Frames whose spectrum is computed together: about 10 s."""


def spectrogram_image(
    recording: Sound, converter: SpectrogramConverter, from_s: float, to_s: float
) -> Image.Image:
    """Image of a part of a recording in mono, with the parameters in its EXIF.

    Args:
        recording: the recording.
        converter: computes spectrograms with the checkpoint's parameters.
        from_s, to_s: start and end of the part.

    Returns:
        As `image_from_mel_amplitudes`, at least one frame wide.
    """
    axis = ModelAxis(recording, converter)
    rate = recording.sample_rate
    first = min(axis.frame_at(round(from_s * rate)), axis.num_frames - 1)
    end = max(first + 1, min(axis.frame_at(round(to_s * rate)), axis.num_frames))
    parts = [
        axis.amplitudes(start, min(_FRAMES_AT_ONCE, end - start))
        for start in range(first, end, _FRAMES_AT_ONCE)
    ]
    mono = np.concatenate(parts, axis=1)
    channels = 2 if converter.p.stereo else 1
    return image_from_mel_amplitudes(np.stack([mono] * channels), converter.p)
