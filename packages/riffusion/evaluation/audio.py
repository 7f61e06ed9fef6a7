"""Planes to audio, for metrics that listen. Real clips lose as much by it as drawn ones."""

import functools
import hashlib
import json
from dataclasses import asdict

import numpy as np

from riffusion.audio import Waveform
from riffusion.evaluation.images import Plane, image_from_plane
from riffusion.spectrogram.image_converter import SpectrogramImageConverter
from riffusion.spectrogram.params import SpectrogramParams


def waveform_from_plane(plane: Plane, params: SpectrogramParams) -> Waveform:
    """Invert a plane: (channels, samples), at the sample rate of the parameters."""
    return _converter(params).waveform_from_spectrogram_image(image_from_plane(plane, params))


def audio_key(plane: Plane, params: SpectrogramParams) -> str:
    """A name for the audio of a plane: equal only for equal planes and parameters."""
    about = json.dumps([plane.shape, asdict(params)]).encode()
    return hashlib.sha256(about + np.ascontiguousarray(plane).data).hexdigest()


@functools.lru_cache(maxsize=2)
def _converter(params: SpectrogramParams) -> SpectrogramImageConverter:
    return SpectrogramImageConverter(params, device="cpu")
