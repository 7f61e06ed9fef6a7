"""A generator with a tiny model whose UNet waits or fails on purpose, and a request for it."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from riffusion.datatypes import InferenceInput
from riffusion.diffusion import RiffusionPipeline
from riffusion.generation.generator import ClipGenerator
from riffusion.generation.seed_library import SeedLibrary
from riffusion.spectrogram.params import SpectrogramParams
from tests.checkpoint.checkpoints import tiny_model, write_folder
from tests.patience import PATIENCE_S

INPUTS = InferenceInput.parse(
    {
        "start": {"prompt": "bells", "seed": 1},
        "mode": "txt2img",
        "duration_s": 0.16,
        "num_inference_steps": 2,
        "scheduler": "ddim",  # two UNet calls; PNDM makes three
    }
)
TIMEOUT_S = PATIENCE_S


@pytest.fixture
def generator(tmp_path: Path) -> Iterator[ClipGenerator]:
    folder = write_folder(tiny_model(), tmp_path / "tiny")
    pipeline = RiffusionPipeline.from_pretrained(folder, device="cpu")
    pipeline.spectrogram_params = SpectrogramParams(num_frequencies=16)
    generator = ClipGenerator(pipeline, SeedLibrary.default(None), max_num_running=1)
    yield generator
    generator.close()


class HeldUNet:
    """A UNet whose calls wait until they are released; then they fail if `failure` is set."""

    def __init__(self, generator: ClipGenerator, monkeypatch: pytest.MonkeyPatch) -> None:
        self.failure: BaseException | None = None
        self.num_calls = 0
        self.called = threading.Event()
        self.released = threading.Event()
        self._forward = generator.pipeline.unet.forward
        monkeypatch.setattr(generator.pipeline.unet, "forward", self.forward)

    def forward(self, *args: Any, **options: Any) -> Any:
        self.num_calls += 1
        self.called.set()
        self.released.wait(TIMEOUT_S)
        if self.failure is not None:
            raise self.failure
        return self._forward(*args, **options)


@pytest.fixture
def unet(generator: ClipGenerator, monkeypatch: pytest.MonkeyPatch) -> HeldUNet:
    return HeldUNet(generator, monkeypatch)
