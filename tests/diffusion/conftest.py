"""A tiny pipeline, and an image that it starts from."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from riffusion.diffusion import RiffusionPipeline
from riffusion.spectrogram.params import SpectrogramParams
from tests.diffusion.pipeline_requests import SIZE


@pytest.fixture(scope="module")
def pipeline(pristine: Path) -> RiffusionPipeline:
    pipeline = RiffusionPipeline.from_pretrained(pristine, device="cpu")
    pipeline.spectrogram_params = SpectrogramParams(num_frequencies=SIZE)  # small, so quick
    return pipeline


@pytest.fixture(scope="module")
def init_image() -> Image.Image:
    rng = np.random.default_rng(0)
    return Image.fromarray(rng.integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8))
