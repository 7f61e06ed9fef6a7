"""A tiny pipeline, and an engine with it that records its steps."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from riffusion.diffusion import RiffusionPipeline
from riffusion.engine import Engine
from riffusion.engine.engine import EngineStep
from riffusion.spectrogram.params import SpectrogramParams


@pytest.fixture(scope="module")
def pipeline(pristine: Path) -> RiffusionPipeline:
    pipeline = RiffusionPipeline.from_pretrained(pristine, device="cpu")
    pipeline.spectrogram_params = SpectrogramParams(num_frequencies=48)  # small, so quick
    return pipeline


@pytest.fixture
def steps() -> list[EngineStep]:
    return []


@pytest.fixture
def engine(pipeline: RiffusionPipeline, steps: list[EngineStep]) -> Iterator[Engine]:
    engine = Engine(pipeline, max_rows=6, max_num_running=8, on_step=steps.append)
    yield engine
    engine.close()
