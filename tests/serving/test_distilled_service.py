"""The service with a tiny distilled checkpoint: what it makes, and what it refuses beforehand."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import prometheus_client
import pytest

from riffusion.checkpoint.distillation import Distillation
from riffusion.datatypes import InferenceInput
from riffusion.diffusion import RiffusionPipeline
from riffusion.errors import InputError
from riffusion.generation.generator import ClipGenerator
from riffusion.generation.seed_library import SeedLibrary
from riffusion.serving.model.clip_service import ClipService
from riffusion.serving.model.request_body import error_content
from riffusion.spectrogram.params import SpectrogramParams
from tests.checkpoint.checkpoints import distilled_copy, tiny_model, write_folder

CAN: list[Distillation | None] = [
    None,  # published: distilled sampling only
    Distillation(8, (1.0, 10.0), guided_sampling=True),
    Distillation(1, (1.0, 3.0), guided_sampling=False),  # fewer steps than a warm-up has, usually
]


@pytest.fixture(params=CAN, ids=["published", "dual", "one step"])
def generator(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ClipGenerator]:
    folder = write_folder(distilled_copy(tiny_model()), tmp_path / "tiny")
    if request.param is not None:
        request.param.save(folder)
    pipeline = RiffusionPipeline.from_pretrained(folder, device="cpu")
    pipeline.spectrogram_params = SpectrogramParams(num_frequencies=16)
    generator = ClipGenerator(pipeline, SeedLibrary.default(None), max_num_running=2)
    yield generator
    generator.close()


def inputs(**changes: Any) -> InferenceInput:
    start = {"prompt": "bells", "seed": 1, "guidance": 2.0} | changes.pop("start", {})
    values = {"start": start, "mode": "txt2img", "duration_s": 0.16, **changes}
    return InferenceInput.parse(values)


def test_it_warms_up_and_makes_clips(generator: ClipGenerator) -> None:
    generator.warm_up()
    distillation = generator.pipeline.distillation
    assert distillation is not None

    async def scenario() -> None:
        service = ClipService(generator)
        steps = {"num_inference_steps": min(4, distillation.max_steps)}
        jobs = [await service.submit(inputs(preset="instant", **steps)) for _ in range(2)]
        answers = [await job.result(lambda: False) for job in jobs]
        assert answers[0].duration_s == 0.16
        assert answers[0].audio == answers[1].audio

    asyncio.run(scenario())
    metrics = prometheus_client.generate_latest().decode()
    line = next(line for line in metrics.splitlines() if line.startswith("riffusion_checkpoint_"))
    assert 'distilled="true"' in line
    assert f'max_steps="{distillation.max_steps}"' in line


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"preset": "instant", "num_inference_steps": 9}, "num_inference_steps"),
        ({"preset": "instant", "num_inference_steps": 1, "start": {"guidance": 29}}, "guidance"),
        (
            {"preset": "instant", "num_inference_steps": 1, "start": {"negative_prompt": "hum"}},
            "negative_prompt",
        ),
        ({"scheduler": "lcm"}, "num_inference_steps"),  # 50, a request's default
    ],
)
def test_what_it_cannot_do_names_the_field_and_costs_no_slot(
    generator: ClipGenerator, changes: dict[str, Any], field: str
) -> None:
    async def scenario() -> None:
        service = ClipService(generator)
        with pytest.raises(InputError) as refusal:
            await service.submit(inputs(**changes))
        assert error_content(refusal.value)["error"].split(": ")[0].endswith(field)
        assert generator.engine.num_running == generator.engine.num_waiting == 0

    asyncio.run(scenario())
