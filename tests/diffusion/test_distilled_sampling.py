"""Distilled checkpoints: equal to stock diffusers, batched with others, and what they refuse."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image

from riffusion.checkpoint.distillation import PUBLISHED, Distillation
from riffusion.datatypes import InferenceInput
from riffusion.diffusion import RiffusionPipeline
from riffusion.diffusion.distilled_sampling import consistency_timesteps
from riffusion.diffusion.samplers import Consistency
from riffusion.errors import InputError
from riffusion.spectrogram.params import SpectrogramParams
from tests.checkpoint.checkpoints import TinyModel, distilled_copy, write_folder
from tests.diffusion.pipeline_requests import (
    MAX_GREY_LEVELS,
    MAX_LATENT_ERROR,
    SIZE,
    difference,
    finished_latents,
    request,
)

DUAL = Distillation(max_steps=8, guidance=(1.0, 10.0), guided_sampling=True)
TXT2IMG = {"mode": "txt2img", "duration_s": SIZE / 100}


def load(folder: Path) -> RiffusionPipeline:
    pipeline = RiffusionPipeline.from_pretrained(folder, device="cpu")
    pipeline.spectrogram_params = SpectrogramParams(num_frequencies=SIZE)  # small, so quick
    return pipeline


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


def instant(**changes: Any) -> InferenceInput:
    return request(**{"scheduler": "lcm", **changes})


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


class TestMasksAndInterpolation:
    def test_a_mask_keeps_its_black_half(
        self, dual: RiffusionPipeline, init_image: Image.Image
    ) -> None:
        mask = Image.new("L", init_image.size, 0)
        mask.paste(255, (SIZE // 2, 0, SIZE, SIZE))
        image = dual.riffuse(instant(start={"denoising": 1.0}), init_image, mask)
        before, after = np.asarray(init_image), np.asarray(image)
        assert np.array_equal(before[:, : SIZE // 2], after[:, : SIZE // 2])
        assert np.abs(before.astype(int) - after)[:, SIZE // 2 :].mean() > 10

    def test_the_ends_of_a_walk_are_the_clips_of_their_prompts(
        self, dual: RiffusionPipeline, init_image: Image.Image
    ) -> None:
        ends: dict[str, Any] = {
            "start": {"prompt": "piano", "seed": 3, "guidance": 2.0},
            "end": {"prompt": "bells", "seed": 3, "guidance": 8.0},
        }
        clips = [
            finished_latents(dual, instant(**ends, alpha=alpha), init_image)
            for alpha in (0.0, 0.5, 1.0)
        ]
        for clip, end in zip((clips[0], clips[2]), ("start", "end"), strict=True):
            single = instant(start=ends[end], end=ends[end])
            assert torch.equal(clip, finished_latents(dual, single, init_image))
        assert not torch.equal(clips[1], clips[0])
        assert not torch.equal(clips[1], clips[2])

    @pytest.mark.parametrize("steps", [1, 4, 8])
    @pytest.mark.parametrize("seed", [5, 2**40])
    def test_a_walk_to_another_seed_arrives_at_its_clip_without_a_jump(
        self, dual: RiffusionPipeline, seed: int, steps: int
    ) -> None:
        """The noise that is added in each step moves along, as the initial noise does."""

        def clip(alpha: float, first: int = 3) -> torch.Tensor:
            ends = {name: {"prompt": "piano", "seed": first} for name in ("start", "end")}
            ends["end"]["seed"] = seed
            return finished_latents(
                dual, instant(**ends, alpha=alpha, num_inference_steps=steps, **TXT2IMG)
            )

        arrived, before, halfway = clip(1.0), clip(0.999), clip(0.5)
        assert torch.equal(arrived, clip(0.0, first=seed))
        away = (halfway - arrived).abs().max()
        assert (before - arrived).abs().max() < 0.02 * away

    def test_equal_seeds_add_the_noise_of_one(self, dual: RiffusionPipeline) -> None:
        clips = [
            finished_latents(
                dual, instant(end={"prompt": "piano", "seed": 1}, alpha=alpha, **TXT2IMG)
            )
            for alpha in (0.0, 0.3)
        ]
        assert (clips[0] - clips[1]).abs().max() < MAX_LATENT_ERROR


class _OwnUNet(torch.nn.Module):
    """A UNet as scripts for upstream set it on a pipeline: with the little that it needs."""

    def __init__(self, unet: Any) -> None:
        super().__init__()
        self.unet, self.device, self.dtype = unet, unet.device, unet.dtype
        self.config = SimpleNamespace(in_channels=unet.config.in_channels)

    def forward(self, *args: Any, **options: Any) -> Any:
        return self.unet(*args, **options)


class TestWhatACheckpointCanDo:
    def test_a_users_own_unet_is_not_distilled(self, pipeline: RiffusionPipeline) -> None:
        own = RiffusionPipeline(**pipeline.components)
        own.spectrogram_params = pipeline.spectrogram_params
        inputs = request(**TXT2IMG)
        expected = finished_latents(own, inputs)
        own.unet = _OwnUNet(own.unet)
        assert own.distillation is None
        assert torch.equal(finished_latents(own, inputs), expected)

    def test_without_the_file_it_is_a_published_one(self, published: RiffusionPipeline) -> None:
        assert published.distillation == PUBLISHED == Distillation(8, (1.0, 14.0), False)
        checkpoint = published.checkpoint
        assert checkpoint is not None
        assert "distilled for up to 8 steps and guidance 1 to 14" in checkpoint.description

    def test_it_is_saved_and_loaded_with_the_pipeline(
        self, dual: RiffusionPipeline, tmp_path: Path
    ) -> None:
        dual.save_pretrained(tmp_path)
        assert load(tmp_path).distillation == DUAL

    def test_an_undistilled_checkpoint_has_none(self, pipeline: RiffusionPipeline) -> None:
        assert pipeline.distillation is None
        assert pipeline.checkpoint is not None
        assert "distilled" not in pipeline.checkpoint.description

    def test_a_published_one_is_sampled_with_lcm_by_default(
        self, published: RiffusionPipeline
    ) -> None:
        job = published.prepare(request(**TXT2IMG))
        assert isinstance(job.scheduler, Consistency)
        assert job.num_rows == 1

    def test_its_own_scheduler_decides_for_one_that_can_do_both(
        self, dual: RiffusionPipeline
    ) -> None:
        assert dual.prepare(request(**TXT2IMG)).num_rows == 2
        lcm = diffusers.LCMScheduler.from_config(dual.scheduler.config)
        other = RiffusionPipeline(**dual.components | {"scheduler": lcm}, distillation=DUAL)
        other.spectrogram_params = dual.spectrogram_params
        assert other.prepare(request(**TXT2IMG)).num_rows == 1
        assert other.prepare(request(scheduler="ddim", **TXT2IMG)).num_rows == 2

    def test_lcm_on_an_undistilled_checkpoint_stays_guided(
        self, pipeline: RiffusionPipeline
    ) -> None:
        job = pipeline.prepare(
            instant(num_inference_steps=20, start={"negative_prompt": "bells", "guidance": 20.0})
        )
        assert (job.num_steps, job.num_rows) == (20, 2)


REFUSALS: list[tuple[str, dict[str, Any], str, str]] = [
    ("pipeline", {"preset": "instant"}, "preset", "'instant' needs a distilled .*preset=fast"),
    ("published", {"num_inference_steps": 50}, "num_inference_steps", "50 .*at most 8.*instant"),
    ("published", {"scheduler": "ddim"}, "scheduler", "'ddim' must be 'lcm'.*preset=instant"),
    ("published", {"preset": "balanced"}, "scheduler", r"'dpmsolver\+\+' must be 'lcm'"),
    ("published", {"start": {"guidance": 15}}, "start.guidance", "15 .*from 1 to 14"),
    ("published", {"end": {"negative_prompt": "hum"}}, "end.negative_prompt", "'hum'.*leave it"),
    (
        "dual",
        {"scheduler": "lcm", "num_inference_steps": 9},
        "num_inference_steps",
        "9 must be at most 8 .*preset=balanced for more",
    ),
    ("dual", {"preset": "instant", "start": {"guidance": 0.5}}, "start.guidance", "0.5 .*1 to 10"),
    ("dual", {"preset": "instant", "end": {"guidance": 10.5}}, "end.guidance", "10.5 .*1 to 10"),
    (
        "dual",
        {"preset": "instant", "start": {"negative_prompt": "hum " * 20}},
        "start.negative_prompt",
        "'hum.*…' has no effect.*preset=fast",
    ),
]


@pytest.mark.parametrize(("kind", "changes", "field", "message"), REFUSALS)
def test_what_a_checkpoint_cannot_do_is_refused_in_one_line(
    request: pytest.FixtureRequest, kind: str, changes: dict[str, Any], field: str, message: str
) -> None:
    from tests.diffusion.pipeline_requests import request as make_request

    pipeline: RiffusionPipeline = request.getfixturevalue(kind)
    steps = {"num_inference_steps": 4} if "preset" not in changes else {}
    inputs = make_request(**{**TXT2IMG, **steps, **changes})
    with pytest.raises(InputError, match=message) as refusal:
        pipeline.prepare(inputs)
    assert refusal.value.field == field
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("changes", [{"scheduler": "lcm"}, {"preset": "instant"}])
def test_empty_negative_prompts_and_the_ends_of_the_range_are_allowed(
    dual: RiffusionPipeline, changes: dict[str, Any]
) -> None:
    for guidance in (1.0, 10.0):
        start = {"guidance": guidance, "negative_prompt": ""}
        assert dual.prepare(request(**TXT2IMG, **changes, start=start)).num_rows == 1
