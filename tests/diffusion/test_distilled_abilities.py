"""What a distilled checkpoint can do, and what is refused."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import diffusers
import pytest
import torch

from riffusion.checkpoint.distillation import PUBLISHED, Distillation
from riffusion.diffusion import RiffusionPipeline
from riffusion.diffusion.samplers import Consistency
from riffusion.errors import InputError
from tests.diffusion.distilled_pipelines import DUAL, TXT2IMG, instant, load
from tests.diffusion.pipeline_requests import finished_latents, request


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
