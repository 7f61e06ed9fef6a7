"""A tiny pipeline, an image that it starts from, and pipelines of distilled checkpoints."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from riffusion.diffusion import RiffusionPipeline
from riffusion.spectrogram.params import SpectrogramParams
from tests.checkpoint.checkpoints import TinyModel, distilled_copy, write_folder
from tests.diffusion.distilled_pipelines import DUAL, load
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


@pytest.fixture(scope="module")
def published(model: TinyModel, tmp_path_factory: pytest.TempPathFactory) -> RiffusionPipeline:
    """A distilled checkpoint without `distillation.json`."""
    return load(write_folder(distilled_copy(model), tmp_path_factory.mktemp("published")))


@pytest.fixture(scope="module")
def dual(model: TinyModel, tmp_path_factory: pytest.TempPathFactory) -> RiffusionPipeline:
    """A checkpoint that can be sampled both ways."""
    folder = write_folder(distilled_copy(model), tmp_path_factory.mktemp("dual"))
    DUAL.save(folder)
    return load(folder)
