"""Distilled checkpoints: equal to stock diffusers, and batched with others."""

from dataclasses import replace
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image

from riffusion.datatypes import InferenceInput
from riffusion.diffusion import RiffusionPipeline
from riffusion.diffusion.distilled_sampling import consistency_timesteps
from tests.diffusion.distilled_pipelines import DUAL, TXT2IMG, instant
from tests.diffusion.pipeline_requests import (
    MAX_GREY_LEVELS,
    MAX_LATENT_ERROR,
    SIZE,
    difference,
    finished_latents,
    request,
)


def latents_after_each_step(pipeline: RiffusionPipeline, *args: Any) -> list[torch.Tensor]:
    job = pipeline.prepare(*args)
    latents = []
    while not job.is_done:
        pipeline.step([job])
        latents.append(job.latents)
    return latents


class TestAgainstStockDiffusers:
    """The same noise goes in; the steps' noise comes from equal generators."""

    @pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
    @pytest.mark.parametrize(
        ("steps", "guidance"), [(1, 7.0), (4, 1.0), (4, 2.3), (4, 10.0), (8, 7.0)]
    )
    def test_txt2img_step_by_step(
        self, dual: RiffusionPipeline, steps: int, guidance: float, prediction_type: str
    ) -> None:
        pipeline = RiffusionPipeline(
            **dual.components
            | {
                "scheduler": type(dual.scheduler).from_config(
                    dual.scheduler.config, prediction_type=prediction_type
                )
            },
            spectrogram_params=dual.spectrogram_params,
            distillation=DUAL,
        )
        inputs = instant(num_inference_steps=steps, start={"guidance": guidance}, **TXT2IMG)
        generator = torch.Generator().manual_seed(1)
        noise = torch.randn(pipeline.prepare(inputs).shape, generator=generator)
        stock = diffusers.LatentConsistencyModelPipeline(
            **pipeline.components
            | {"scheduler": diffusers.LCMScheduler.from_config(pipeline.scheduler.config)},
            requires_safety_checker=False,
        )
        stock.set_progress_bar_config(disable=True)
        expected: list[torch.Tensor] = []

        def note(pipe: Any, step: int, timestep: Any, values: dict[str, Any]) -> dict[str, Any]:
            expected.append(values["latents"].clone())
            return {}

        stock(
            "piano",
            num_inference_steps=steps,
            guidance_scale=guidance,
            generator=generator,
            latents=noise,
            height=SIZE,
            width=SIZE,
            output_type="latent",
            callback_on_step_end=note,
        )
        actual = latents_after_each_step(pipeline, inputs)
        assert len(actual) == len(expected) == steps
        for ours, theirs in zip(actual, expected, strict=True):
            assert (ours - theirs).abs().max() < MAX_LATENT_ERROR * max(1, theirs.abs().max())

    @pytest.mark.parametrize("strength", [0.25, 0.5, 0.75, 1.0])
    def test_img2img_uses_the_timesteps_of_the_strength(
        self, dual: RiffusionPipeline, init_image: Image.Image, strength: float
    ) -> None:
        """Where the strength is a share of the steps, they are diffusers' for that many steps."""
        job = dual.prepare(instant(start={"denoising": strength}), init_image)
        stock = diffusers.LCMScheduler.from_config(dual.scheduler.config)
        stock.set_timesteps(round(4 * strength), original_inference_steps=50, strength=strength)
        assert job.timesteps.tolist() == stock.timesteps.tolist()


@pytest.mark.parametrize("strength", [0.001, 0.02, 0.1, 0.3, 0.37, 0.6, 0.99, 1.0])
@pytest.mark.parametrize("steps", [1, 3, 4, 8])
@pytest.mark.parametrize("distilled_at", [None, 25])
def test_any_strength_takes_a_step_and_begins_at_its_share_of_the_noise(
    dual: RiffusionPipeline, steps: int, strength: float, distilled_at: int | None
) -> None:
    scheduler = diffusers.LCMScheduler.from_config(dual.scheduler.config)
    timesteps = consistency_timesteps(scheduler, steps, strength, distilled_at)
    count = distilled_at or 50
    assert 1 <= len(timesteps) <= int(np.ceil(steps * strength - 1e-9))
    assert timesteps[0] == max(1, int(count * strength + 1e-9)) * (1000 // count) - 1
    assert (timesteps[1:] < timesteps[:-1]).all()
    assert ((timesteps + 1) % (1000 // count) == 0).all()


def test_steps_are_timesteps_that_the_checkpoint_was_distilled_at(
    dual: RiffusionPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dual, "_distillation", replace(DUAL, solver_steps=25))
    assert dual.prepare(instant(**TXT2IMG)).timesteps.tolist() == [999, 759, 519, 279]


def test_a_strength_of_zero_takes_none(dual: RiffusionPipeline, init_image: Image.Image) -> None:
    job = dual.prepare(instant(start={"denoising": 0.0}), init_image)
    assert job.is_done
    assert job.num_steps == 0


class TestRows:
    def test_a_distilled_step_has_one_row_that_is_told_the_guidance(
        self, dual: RiffusionPipeline, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        told: list[torch.Tensor] = []
        forward = dual.unet.forward

        def noted(rows: torch.Tensor, *args: Any, **options: Any) -> Any:
            told.append(options["timestep_cond"])
            return forward(rows, *args, **options)

        monkeypatch.setattr(dual.unet, "forward", noted)
        finished_latents(dual, instant(start={"guidance": 3.0}, **TXT2IMG))
        assert [tuple(cond.shape) for cond in told] == [(1, 8)] * 4
        assert all(torch.equal(cond, told[0]) for cond in told)
        assert float(told[0].square().sum()) == pytest.approx(4, abs=1e-4)  # sines and cosines
        told.clear()
        finished_latents(dual, request(scheduler="ddim", **TXT2IMG))
        assert [tuple(cond.shape) for cond in told] == [(2, 8)] * 4
        assert not any(cond.any() for cond in told)

    def test_the_guidance_changes_the_clip(self, dual: RiffusionPipeline) -> None:
        low, high = (
            finished_latents(dual, instant(start={"guidance": w}, **TXT2IMG)) for w in (1.0, 9.0)
        )
        assert (low - high).abs().max() > 100 * MAX_LATENT_ERROR

    def test_outside_of_the_guidance_interval_the_lowest_guidance_is_told(
        self, dual: RiffusionPipeline
    ) -> None:
        def after(guidance: float, **changes: Any) -> torch.Tensor:
            return finished_latents(
                dual, instant(start={"guidance": guidance}, **TXT2IMG, **changes)
            )

        assert torch.equal(after(9.0, guidance_interval=[0, 0]), after(1.0))
        assert not torch.equal(after(9.0, guidance_interval=[0, 0.5]), after(9.0))

    def test_guided_sampling_is_that_of_the_unet_without_the_embedding(
        self, dual: RiffusionPipeline, pipeline: RiffusionPipeline, init_image: Image.Image
    ) -> None:
        inputs = request(start={"negative_prompt": "bells"})
        assert torch.equal(
            finished_latents(dual, inputs, init_image),
            finished_latents(pipeline, inputs, init_image),
        )

    def test_rows_of_both_kinds_share_calls_and_stay_what_they_are_alone(
        self, dual: RiffusionPipeline, init_image: Image.Image, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        mask = Image.linear_gradient("L")
        requests: list[tuple[InferenceInput, Image.Image | None, Image.Image | None]] = [
            (instant(start={"guidance": 2.0}), init_image, None),
            (request(scheduler="ddim", num_inference_steps=5), init_image, None),
            (instant(alpha=0.5, end={"guidance": 9.0, "seed": 5}), init_image, None),
            (instant(start={"prompt": "(piano:1.3) " * 90}), init_image, mask),
            (request(num_inference_steps=3, start={"guidance": 0.0}), init_image, mask),
            (instant(num_inference_steps=8, start={"denoising": 1.0}), init_image, None),
        ]
        alone = [dual.riffuse(*arguments) for arguments in requests]
        sizes: list[int] = []
        forward = dual.unet.forward

        def noted(rows: torch.Tensor, *args: Any, **options: Any) -> Any:
            sizes.append(len(rows))
            return forward(rows, *args, **options)

        monkeypatch.setattr(dual.unet, "forward", noted)
        jobs = [dual.prepare(*arguments) for arguments in requests]
        while not all(job.is_done for job in jobs):
            dual.step(jobs)
        assert sizes[0] == 7  # one call, in which only the second job has two rows
        assert all(
            difference(one, other) <= MAX_GREY_LEVELS
            for one, other in zip(alone, dual.decode(jobs), strict=True)
        )
