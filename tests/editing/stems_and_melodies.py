"""A quick generator, a recording with stems, melodies, and requests that edit them."""

import base64
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mido
import numpy as np
import pytest
import soundfile

from riffusion.audio.waveform import Waveform
from riffusion.datatypes import InferenceInput
from riffusion.diffusion import RiffusionPipeline
from riffusion.generation.generator import ClipGenerator
from riffusion.generation.seed_library import SeedLibrary
from tests.editing.modes.edits import RATE, SMALLEST

DURATION_S = 3.0


@pytest.fixture(scope="module")
def generator(pristine: Path) -> Iterator[ClipGenerator]:
    pipeline = RiffusionPipeline.from_pretrained(pristine, device="cpu")
    pipeline.spectrogram_params = SMALLEST
    generator = ClipGenerator(pipeline, SeedLibrary.default(None), max_num_running=1)
    yield generator
    generator.close()


@pytest.fixture(scope="module")
def waveform() -> Waveform:
    """Clicks over two tones, in stereo."""
    t = np.arange(round(DURATION_S * RATE)) / RATE
    tones = 0.2 * np.sin(2 * np.pi * 440 * t) + 0.2 * np.sin(2 * np.pi * 80 * t)
    clicks = 0.4 * np.exp(-60 * (t % 0.5)) * np.random.default_rng(0).normal(size=t.size)
    return np.stack([tones + clicks, tones - 0.5 * clicks]).clip(-1, 1).astype(np.float32)


def request(mode: str, **fields: Any) -> InferenceInput:
    return InferenceInput.parse({"mode": mode, "audio_format": "wav"} | fields)


def decoded(url: str) -> bytes:
    return base64.b64decode(url.split(",")[1])


def samples(data: bytes) -> np.ndarray:
    return np.asarray(soundfile.read(io.BytesIO(data), dtype="int32", always_2d=True)[0].T)


def midi(*notes: int, ticks: int = 480, channel: int = 0) -> str:
    track = mido.MidiTrack()
    for pitch in notes:
        track.append(mido.Message("note_on", note=pitch, channel=channel))
        track.append(mido.Message("note_off", note=pitch, channel=channel, time=ticks))
    file = mido.MidiFile()
    file.tracks.append(track)
    buffer = io.BytesIO()
    file.save(file=buffer)
    return base64.b64encode(buffer.getvalue()).decode()
