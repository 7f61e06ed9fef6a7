"""Stretches mel amplitudes in time, with unchanged pitch."""

import numpy as np

from riffusion.spectrogram.image import FloatArray


def stretch(amplitudes: FloatArray, num_frames: int) -> FloatArray:
    """Stretch the amplitudes of a loop (channels, frequency, time) to another number of frames.

    Amplitudes contain no phases, so the pitch doesn't change. Frame j is the linear interpolation
    at time j · old / new; after the last frame comes the first.
    """
    old = amplitudes.shape[-1]
    position = np.arange(num_frames) * (old / num_frames)
    left = np.floor(position).astype(int)
    weight = (position - left).astype(np.float32)
    before, after = amplitudes[..., left % old], amplitudes[..., (left + 1) % old]
    stretched: FloatArray = before + weight * (after - before)
    return stretched
