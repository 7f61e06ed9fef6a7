"""A generator with a tiny model, whose clips are 64 frames of 48 bands."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from riffusion.diffusion import RiffusionPipeline
from riffusion.generation.generator import ClipGenerator
from riffusion.generation.seed_library import SeedLibrary
from riffusion.spectrogram.params import SpectrogramParams

TINY = SpectrogramParams(
    num_frequencies=48,
    step_size_ms=80,
    window_duration_ms=200,
    padded_duration_ms=400,
    num_griffin_lim_iters=8,
)


@pytest.fixture(scope="session")
def generator(pristine: Path) -> Iterator[ClipGenerator]:
    pipeline = RiffusionPipeline.from_pretrained(pristine, device="cpu")
    pipeline.spectrogram_params = TINY
    generator = ClipGenerator(pipeline, SeedLibrary.default(None))
    yield generator
    generator.close()
