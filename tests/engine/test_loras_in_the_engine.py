"""Requests with different LoRAs, submitted together: each equals its solo result."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from riffusion.datatypes import InferenceInput
from riffusion.diffusion import RiffusionPipeline
from riffusion.diffusion.loras import LoraLibrary
from riffusion.engine import Engine
from riffusion.engine.engine import EngineStep
from riffusion.errors import InputError
from riffusion.spectrogram.params import SpectrogramParams
from tests.checkpoint.checkpoints import TinyModel
from tests.checkpoint.loras import tiny_lora, write_diffusers, write_kohya
from tests.engine.engine_requests import (
    MAX_GREY_LEVELS,
    TIMEOUT_S,
    blocked,
    levels,
    request,
)
from tests.runtime import emulated_graphs

STEPS = 3
SELECTIONS: list[dict[str, float]] = [
    {},
    {"bells": 1.0},
    {"choir": 1.0},
    {"bells": 0.5},
    {"bells": 1.0},
    {"choir": 0.0},
]
"""LoRAs by id; requests 1 and 4 agree, and so do 0 and 5."""


@pytest.fixture(scope="module")
def pipeline(pristine: Path) -> RiffusionPipeline:
    pipeline = RiffusionPipeline.from_pretrained(pristine, device="cpu")
    pipeline.spectrogram_params = SpectrogramParams(num_frequencies=16)
    return pipeline


@pytest.fixture(autouse=True)
def _loras(
    pipeline: RiffusionPipeline, model: TinyModel, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[None]:
    folder: Path = tmp_path_factory.mktemp("loras")
    bells = write_kohya(tiny_lora(model, seed=1), folder / "bells")
    choir = write_diffusers(tiny_lora(model, ("unet",), seed=2), folder / "choir")
    pipeline.loras = LoraLibrary({"bells": bells, "choir": choir})
    yield
    pipeline.loras = LoraLibrary()


def inputs(selection: dict[str, float]) -> InferenceInput:
    plain = request(steps=STEPS, scheduler="ddim")
    loras = [{"id": name, "weight": weight} for name, weight in selection.items()]
    small = {"mode": "txt2img", "duration_s": 0.16, "loras": loras}
    return InferenceInput.parse(plain.model_dump() | small)


def test_they_equal_their_solo_results_and_share_calls_where_they_agree(
    engine: Engine, pipeline: RiffusionPipeline, steps: list[EngineStep]
) -> None:
    alone = [pipeline(inputs(selection)).images[0] for selection in SELECTIONS]
    release = blocked(engine)
    handles = [engine.submit(inputs(selection)) for selection in SELECTIONS]
    release.set()
    for handle, expected in zip(handles, alone, strict=True):
        assert levels(handle.image.result(TIMEOUT_S), expected) <= MAX_GREY_LEVELS
    assert levels(alone[0], alone[5]) == 0
    assert all(levels(alone[0], changed) > MAX_GREY_LEVELS for changed in alone[1:4])
    sizes = [step.num_jobs for step in steps[1:]]
    assert sorted(sizes) == [1] * STEPS + [1] * STEPS + [2] * STEPS + [2] * STEPS


def test_an_unknown_lora_fails_its_request_alone(engine: Engine) -> None:
    release = blocked(engine)
    bad = engine.submit(inputs({"../bells": 1.0}))
    good = engine.submit(inputs({"bells": 1.0}))
    release.set()
    with pytest.raises(InputError, match=r"loras: '\.\./bells' is unknown; .*: bells, choir"):
        bad.image.result(TIMEOUT_S)
    assert good.image.result(TIMEOUT_S).size == (16, 16)


def test_a_recorded_graph_is_not_used_for_a_lora(
    pipeline: RiffusionPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = [pipeline(inputs(selection)).images[0] for selection in ({}, {"bells": 1.0})]
    emulated_graphs.install(monkeypatch)
    graphs = pipeline.unet_graphs
    job = pipeline.prepare(inputs({}))
    timesteps = torch.full((2,), float(job.timestep))
    assert graphs.record(pipeline.unet, job.unet_rows(), timesteps, job.embeddings)
    before = graphs.num_replays, graphs.num_direct_calls
    changed = pipeline(inputs({"bells": 1.0})).images[0]
    assert (graphs.num_replays, graphs.num_direct_calls) == (before[0], before[1] + STEPS)
    plain = pipeline(inputs({})).images[0]
    assert (graphs.num_replays, graphs.num_recorded) == (before[0] + STEPS, 1)
    graphs.forget()
    assert levels(plain, expected[0]) <= MAX_GREY_LEVELS
    assert levels(changed, expected[1]) <= MAX_GREY_LEVELS
    assert levels(plain, changed) > MAX_GREY_LEVELS
