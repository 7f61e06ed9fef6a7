"""A generator with a tiny model, and a song to edit."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from riffusion.audio.waveform import Waveform
from riffusion.diffusion import RiffusionPipeline
from riffusion.generation.generator import ClipGenerator
from riffusion.generation.seed_library import SeedLibrary
from riffusion.loops.harmony import Key
from tests.editing.modes.edits import DURATION_S, RATE, TEMPO_BPM, TINY, encoded
from tests.editing.signals import ROCK, chords, drum_track, steady_beats
from tests.serving.held_unet import HeldUNet


@pytest.fixture(scope="module")
def generator(pristine: Path) -> Iterator[ClipGenerator]:
    pipeline = RiffusionPipeline.from_pretrained(pristine, device="cpu")
    pipeline.spectrogram_params = TINY
    generator = ClipGenerator(pipeline, SeedLibrary.default(None))
    yield generator
    generator.close()


@pytest.fixture
def unet(generator: ClipGenerator, monkeypatch: pytest.MonkeyPatch) -> HeldUNet:
    return HeldUNet(generator, monkeypatch)


@pytest.fixture(scope="module")
def waveform() -> Waveform:
    """Four bars of a song in A minor at 120 beats per minute, in stereo."""
    beats = steady_beats(TEMPO_BPM, DURATION_S)
    harmony = chords(Key.parse("A minor"), (0, 5, 3, 4), beats, DURATION_S, sample_rate=RATE)
    drums = drum_track(ROCK, beats, DURATION_S, sample_rate=RATE)
    return np.concatenate([harmony + drums, 0.7 * harmony + drums]) * np.float32(0.4)


@pytest.fixture(scope="module")
def song(waveform: Waveform) -> str:
    return encoded(waveform)
