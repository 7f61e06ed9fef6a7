"""LoRAs of every format: the image equals that of weights that the LoRA is merged into by hand."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from riffusion.datatypes import InferenceInput
from riffusion.diffusion import RiffusionPipeline
from riffusion.diffusion.canvas import CanvasPlan, PromptAt
from riffusion.diffusion.loras import LoraLibrary
from riffusion.spectrogram.params import SpectrogramParams
from tests.checkpoint.checkpoints import TinyModel, distilled_copy, write_folder
from tests.checkpoint.loras import (
    BOTH,
    TinyLora,
    tiny_lora,
    write_diffusers,
    write_diffusers_pickle,
    write_kohya,
    write_ours,
    write_peft,
)
from tests.diffusion.pipeline_requests import (
    MAX_LATENT_ERROR,
    finished_latents,
    request,
)

HALF_PRECISION_ERROR = 0.02  # of latents of about 1; our own adapters are written in float16
CLEARLY = 0.1
"""Least change of the latents by a LoRA in these tests."""


def loaded(folder: Path) -> RiffusionPipeline:
    pipeline = RiffusionPipeline.from_pretrained(folder, device="cpu")
    pipeline.spectrogram_params = SpectrogramParams(num_frequencies=16)
    return pipeline


@pytest.fixture(scope="module")
def pipeline(pristine: Path) -> RiffusionPipeline:
    return loaded(pristine)


def quick(**changes: Any) -> InferenceInput:
    """A request for a small image in few steps."""
    return request(mode="txt2img", duration_s=0.16, num_inference_steps=2, **changes)


def with_loras(**weights: float) -> InferenceInput:
    return quick(loras=[{"id": name, "weight": value} for name, value in weights.items()])


@dataclasses.dataclass(frozen=True)
class Written:
    """How a test writes a LoRA.

    Args:
        write: writes it.
        parts: what it changes.
        settings: of PEFT.
        tolerance: of the latents.
    """

    write: Callable[[TinyLora, Path], Path]
    parts: tuple[str, ...] = BOTH
    settings: dict[str, Any] = dataclasses.field(default_factory=dict)
    tolerance: float = MAX_LATENT_ERROR


FORMATS = {
    "diffusers": Written(write_diffusers),
    "diffusers, text": Written(write_diffusers, ("text_encoder",)),
    "diffusers, alphas": Written(
        write_diffusers, ("unet",), {"alpha_pattern": {"to_q": 1, "proj_in": 9}}
    ),
    "diffusers, pickle": Written(write_diffusers_pickle),
    "PEFT": Written(write_peft, ("unet",)),
    "PEFT, rank-stabilised": Written(write_peft, ("unet",), {"use_rslora": True}),
    "PEFT, text": Written(write_peft, ("text_encoder",)),
    "kohya": Written(write_kohya),
    "kohya, text": Written(write_kohya, ("text_encoder",)),
    "riffusion train": Written(write_ours, tolerance=HALF_PRECISION_ERROR),
}


@pytest.mark.parametrize("name", FORMATS)
def test_it_equals_weights_merged_by_hand(
    name: str,
    model: TinyModel,
    pristine: Path,
    pipeline: RiffusionPipeline,
    tmp_path: Path,
) -> None:
    written = FORMATS[name]
    lora = tiny_lora(model, written.parts, **written.settings)
    path = written.write(lora, tmp_path / "lora")
    merged = loaded(pristine)
    lora.merge_into(merged, 0.7)
    expected = finished_latents(merged, quick())
    plain = finished_latents(pipeline, quick())
    pipeline.loras = LoraLibrary({"a": path})
    latents = finished_latents(pipeline, with_loras(a=0.7))
    assert float((latents - plain).abs().max()) > CLEARLY
    assert float((latents - expected).abs().max()) < written.tolerance


def test_a_weight_of_0_equals_none_bit_for_bit_and_nothing_stays(
    model: TinyModel, pipeline: RiffusionPipeline, tmp_path: Path
) -> None:
    pipeline.loras = LoraLibrary({"a": write_diffusers(tiny_lora(model), tmp_path)})
    before = {name: weight.clone() for name, weight in pipeline.unet.state_dict().items()}
    plain = finished_latents(pipeline, quick())
    changed = finished_latents(pipeline, with_loras(a=1.0))
    assert float((changed - plain).abs().max()) > CLEARLY
    assert torch.equal(finished_latents(pipeline, with_loras(a=0.0)), plain)
    assert torch.equal(finished_latents(pipeline, quick()), plain)
    assert torch.equal(finished_latents(pipeline, with_loras(a=1.0)), changed)
    after = pipeline.unet.state_dict()
    assert all(torch.equal(weight, after[name]) for name, weight in before.items())


@pytest.fixture(scope="module")
def two(model: TinyModel, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("two")
    return {
        name: write_kohya(tiny_lora(model, seed=seed), folder / name)
        for seed, name in enumerate(("a", "b"))
    }


def test_several_add_up_in_any_order(
    model: TinyModel,
    pristine: Path,
    pipeline: RiffusionPipeline,
    two: dict[str, Path],
) -> None:
    merged = loaded(pristine)
    tiny_lora(model, seed=0).merge_into(merged, 0.5)
    tiny_lora(model, seed=1).merge_into(merged, -0.25)
    pipeline.loras = LoraLibrary(two)
    latents = finished_latents(pipeline, with_loras(a=0.5, b=-0.25))
    expected = finished_latents(merged, quick())
    assert torch.allclose(latents, expected, atol=MAX_LATENT_ERROR)
    swapped = finished_latents(pipeline, with_loras(b=-0.25, a=0.5))
    assert torch.equal(latents, swapped)


def test_jobs_with_other_loras_are_independent(
    pipeline: RiffusionPipeline, two: dict[str, Path]
) -> None:
    pipeline.loras = LoraLibrary(two)
    requests = [
        quick(),
        with_loras(a=1.0),
        with_loras(a=0.5),
        with_loras(b=1.0),
        with_loras(a=1.0, b=1.0),
        with_loras(a=1.0),
    ]
    alone = [finished_latents(pipeline, inputs) for inputs in requests]
    jobs = [pipeline.prepare(inputs) for inputs in requests]
    while not jobs[0].is_done:
        pipeline.step(jobs)
    for job, expected in zip(jobs, alone, strict=True):
        assert torch.allclose(job.latents, expected, atol=MAX_LATENT_ERROR)
    different = [alone[index] for index in range(5)]
    for index, first in enumerate(different):
        for second in different[:index]:
            assert float((first - second).abs().max()) > CLEARLY / 2


def test_it_works_without_room_for_merged_weights(
    pipeline: RiffusionPipeline,
    two: dict[str, Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pipeline.loras = LoraLibrary(two)
    expected = finished_latents(pipeline, with_loras(a=1.0))
    monkeypatch.setattr("riffusion.diffusion.loras.MERGED_BYTES", 0)
    monkeypatch.setattr("riffusion.diffusion.loras.MAX_LOADED", 1)
    pipeline.loras = LoraLibrary(two)
    jobs = [pipeline.prepare(with_loras(**{name: 1.0})) for name in two]
    while not jobs[0].is_done:
        pipeline.step(jobs)
    assert torch.equal(jobs[0].latents, expected)


def test_a_distilled_checkpoint_between_two_prompts(model: TinyModel, tmp_path: Path) -> None:
    folder = write_folder(distilled_copy(model), tmp_path / "distilled")
    lora = tiny_lora(model)
    pipeline, merged = loaded(folder), loaded(folder)
    pipeline.loras = LoraLibrary({"a": write_diffusers(lora, tmp_path / "a")})
    lora.merge_into(merged)
    changes: dict[str, Any] = {"scheduler": "lcm", "alpha": 0.5, "start": {"guidance": 5.0}}
    changes["end"] = {"guidance": 5.0}
    latents = finished_latents(pipeline, quick(loras=[{"id": "a"}], **changes))
    expected = finished_latents(merged, quick(**changes))
    plain = finished_latents(pipeline, quick(**changes))
    assert torch.allclose(latents, expected, atol=MAX_LATENT_ERROR)
    assert float((latents - plain).abs().max()) > CLEARLY


def test_a_canvas_has_loras_too(
    model: TinyModel, pristine: Path, pipeline: RiffusionPipeline, two: dict[str, Path]
) -> None:
    merged = loaded(pristine)
    tiny_lora(model, seed=0).merge_into(merged)
    pipeline.loras = LoraLibrary(two)
    latents = torch.randn(1, 4, 8, 20, generator=torch.Generator().manual_seed(3))
    plan = CanvasPlan(latents, [PromptAt(0.0, "piano"), PromptAt(20.0, "bells")])
    images = []
    for made_by, inputs in (
        (pipeline, with_loras(a=1.0)), (merged, quick()), (pipeline, quick())
    ):  # fmt: skip
        canvas = made_by.prepare_canvas(inputs, plan)
        while not canvas.is_done:
            for window in list(canvas.parts):
                window.advance(made_by.predict([window])[0])
        images.append(canvas.latents)
    assert torch.allclose(images[0], images[1], atol=MAX_LATENT_ERROR)
    assert float((images[0] - images[2]).abs().max()) > CLEARLY
