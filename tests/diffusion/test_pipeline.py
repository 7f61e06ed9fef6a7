"""The pipeline: compared with stock diffusers pipelines, and its own guarantees."""

import copy
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from PIL import Image

from riffusion.datatypes import InferenceInput, SchedulerName
from riffusion.diffusion import RiffusionPipeline
from riffusion.diffusion.schedulers import NAMED
from riffusion.diffusion.stock_schedulers import new_stock_scheduler
from riffusion.diffusion.torch_random import TorchNumbers
from riffusion.spectrogram.params import SpectrogramParams
from tests.diffusion.pipeline_requests import (
    MAX_GREY_LEVELS,
    MAX_LATENT_ERROR,
    SCHEDULERS,
    SIZE,
    difference,
    finished_latents,
    request,
)

SLOPE = Image.linear_gradient("L")


def stock_pipeline(kind: type, pipeline: RiffusionPipeline, scheduler: Any) -> Any:
    """A pipeline of diffusers with the same components."""
    stock = kind(**pipeline.components | {"scheduler": scheduler}, requires_safety_checker=False)
    stock.set_progress_bar_config(disable=True)
    return stock


@pytest.mark.parametrize("negative_prompt", [None, "bells"])
@pytest.mark.parametrize("guidance", [1.0, 7.0])
def test_txt2img_equals_stock_stable_diffusion(
    pipeline: RiffusionPipeline, guidance: float, negative_prompt: str | None
) -> None:
    inputs = request(
        mode="txt2img",
        duration_s=SIZE / 100,
        start={"guidance": guidance, "negative_prompt": negative_prompt},
    )
    job = pipeline.prepare(inputs)
    noise = job.latents / job.scheduler.init_noise_sigma
    stock = stock_pipeline(
        diffusers.StableDiffusionPipeline,
        pipeline,
        type(pipeline.scheduler).from_config(pipeline.scheduler.config),
    )
    expected = stock(
        "piano",
        negative_prompt=negative_prompt,
        num_inference_steps=4,
        guidance_scale=guidance,
        latents=noise,
        height=SIZE,
        width=SIZE,
        output_type="latent",
    ).images
    assert (finished_latents(pipeline, inputs) - expected).abs().max() < MAX_LATENT_ERROR


def stock_scheduler(pipeline: RiffusionPipeline, name: SchedulerName) -> Any:
    """diffusers' scheduler of a name, ours included."""
    class_name, settings = NAMED[name]
    return new_stock_scheduler(class_name, settings, pipeline.scheduler)


@pytest.mark.parametrize("strength", [0.5, 0.75])
@pytest.mark.parametrize("scheduler", ["pndm", "ddim", "dpmsolver++", "euler", "euler_a", "lcm"])
def test_img2img_equals_stock_stable_diffusion(
    pipeline: RiffusionPipeline, init_image: Image.Image, scheduler: SchedulerName, strength: float
) -> None:
    """`euler_a` and `lcm` draw noise in each step, so both pipelines get equal generators."""
    inputs = request(scheduler=scheduler, start={"denoising": strength}, num_inference_steps=8)
    # A job without any steps has its init latents as they are, without noise.
    init_latents = pipeline.prepare(
        request(scheduler="ddim", start={"denoising": 0.0}, num_inference_steps=1), init_image
    ).latents
    stock = stock_pipeline(
        diffusers.StableDiffusionImg2ImgPipeline,
        pipeline,
        stock_scheduler(pipeline, scheduler),
    )
    expected = stock(
        "piano",
        image=init_latents,
        strength=strength,
        num_inference_steps=8,
        guidance_scale=7.0,
        generator=torch.Generator().manual_seed(1),
        output_type="latent",
    ).images
    job = pipeline.prepare(inputs, init_image)
    while not job.is_done:
        pipeline.step([job])
    assert (job.latents - expected).abs().max() < MAX_LATENT_ERROR * expected.abs().max()


@pytest.mark.parametrize("scheduler", ["euler_a", "lcm"])
def test_noise_of_the_steps_follows_the_initial_noise_of_the_start_s_seed(
    pipeline: RiffusionPipeline, init_image: Image.Image, scheduler: SchedulerName
) -> None:
    inputs = request(scheduler=scheduler, start={"seed": 5}, end={"seed": 6}, alpha=0.5)
    expected = pipeline.prepare(inputs, init_image)
    numbers = TorchNumbers(5)
    numbers.normal(expected.shape)  # the initial noise
    expected.generator = numbers.generator if scheduler == "euler_a" else numbers
    while not expected.is_done:
        pipeline.step([expected])
    assert torch.equal(finished_latents(pipeline, inputs, init_image), expected.latents)


def test_scale_factor_and_channels_come_from_the_checkpoint(pipeline: RiffusionPipeline) -> None:
    assert pipeline.vae_scale_factor == 2  # two levels, where Stable Diffusion has four
    job = pipeline.prepare(request(mode="txt2img", duration_s=0.48))
    assert job.latents.shape == (1, 4, 24, 24)


@pytest.mark.parametrize("scheduler", [None, *SCHEDULERS])
@pytest.mark.parametrize("steps", [1, 5])
def test_every_scheduler_changes_the_image(
    pipeline: RiffusionPipeline,
    init_image: Image.Image,
    scheduler: SchedulerName | None,
    steps: int,
) -> None:
    inputs = request(scheduler=scheduler, num_inference_steps=steps, start={"denoising": 1.0})
    image = pipeline.riffuse(inputs, init_image)
    assert image.size == init_image.size
    assert difference(image, init_image) > 0


Arguments = tuple[InferenceInput, Image.Image | None, Image.Image | None]


@pytest.fixture(scope="module")
def others_alone(
    pipeline: RiffusionPipeline, init_image: Image.Image
) -> list[tuple[Arguments, Image.Image]]:
    """Different requests, each with the image that it gets alone."""
    requests: list[Arguments] = [
        (request(num_inference_steps=3, start={"guidance": 0.0}), init_image, SLOPE),
        (
            request(num_inference_steps=4, alpha=0.5, end={"negative_prompt": "piano"}),
            init_image,
            None,
        ),
        (request(start={"prompt": "piano " * 90}), init_image, None),
        (request(mode="txt2img", duration_s=0.1), None, None),
    ]
    return [(arguments, pipeline.riffuse(*arguments)) for arguments in requests]


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_batched_jobs_equal_single_jobs(
    pipeline: RiffusionPipeline,
    init_image: Image.Image,
    others_alone: list[tuple[Arguments, Image.Image]],
    scheduler: SchedulerName,
) -> None:
    own: Arguments = (request(scheduler=scheduler, num_inference_steps=5), init_image, None)
    alone = [pipeline.riffuse(*own), *(image for _, image in others_alone)]
    jobs = [pipeline.prepare(*each) for each in (own, *(each for each, _ in others_alone))]
    while not all(job.is_done for job in jobs):
        pipeline.step(jobs)
    together = pipeline.decode(jobs)
    assert all(
        difference(one, other) <= MAX_GREY_LEVELS
        for one, other in zip(alone, together, strict=True)
    )


def test_calling_the_pipeline_equals_riffuse_and_reports_progress(
    pipeline: RiffusionPipeline, init_image: Image.Image
) -> None:
    seen: list[tuple[int, int]] = []
    inputs = request(scheduler="ddim")
    output = pipeline(
        inputs, init_image, on_progress=lambda done, total: seen.append((done, total))
    )
    assert seen == [(1, 3), (2, 3), (3, 3)]  # 75 % of four steps
    assert difference(output.images[0], pipeline.riffuse(inputs, init_image)) == 0


def test_images_depend_on_the_seed_and_not_on_the_global_generator(
    pipeline: RiffusionPipeline, init_image: Image.Image
) -> None:
    torch.manual_seed(5)
    first = pipeline.riffuse(request(scheduler="euler_a"), init_image)
    torch.manual_seed(6)
    assert difference(pipeline.riffuse(request(scheduler="euler_a"), init_image), first) == 0
    other = request(scheduler="euler_a", start={"seed": 2**63 - 1})
    assert difference(pipeline.riffuse(other, init_image), first) > 0


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_every_scheduler_allows_150_steps(
    pipeline: RiffusionPipeline, init_image: Image.Image, scheduler: SchedulerName
) -> None:
    job = pipeline.prepare(request(scheduler=scheduler, num_inference_steps=150), init_image)
    assert 112 <= job.num_steps <= 113  # 75 %, and PNDM's repeated one


def test_components_of_another_pipeline_are_accepted(
    pipeline: RiffusionPipeline, init_image: Image.Image
) -> None:
    again = RiffusionPipeline(**pipeline.components)
    assert (
        difference(again.riffuse(request(), init_image), pipeline.riffuse(request(), init_image))
        == 0
    )


def test_saved_pipeline_loads_again_here_and_in_stock_diffusers(
    pipeline: RiffusionPipeline,
    init_image: Image.Image,
    tmp_path: Path,
) -> None:
    params = SpectrogramParams(max_frequency=20_000)
    saved = RiffusionPipeline(**pipeline.components, spectrogram_params=params)
    saved.save_pretrained(tmp_path)
    again = RiffusionPipeline.from_pretrained(tmp_path, device="cpu", low_cpu_mem_usage=True)
    assert again.spectrogram_params == params
    assert (
        difference(again.riffuse(request(), init_image), pipeline.riffuse(request(), init_image))
        == 0
    )
    stock = diffusers.StableDiffusionPipeline.from_pretrained(tmp_path, safety_checker=None)
    assert type(stock.scheduler) is type(pipeline.scheduler)


@pytest.mark.parametrize("change", ["exchanged", "exchanged for one at its address", "in place"])
@pytest.mark.parametrize("part", ["vae", "text_encoder"])
def test_caches_know_a_network_that_was_exchanged_or_changed(
    pristine: Path, init_image: Image.Image, part: str, change: str
) -> None:
    def new_pipeline() -> RiffusionPipeline:
        pipeline = RiffusionPipeline.from_pretrained(pristine, device="cpu")
        pipeline.spectrogram_params = SpectrogramParams(num_frequencies=SIZE)
        return pipeline

    def changed(network: torch.nn.Module) -> torch.nn.Module:
        with torch.no_grad():
            for weight in network.parameters():
                weight.mul_(1.25)
        return network

    inputs = request(scheduler="ddim")
    pipeline = new_pipeline()
    before = finished_latents(pipeline, inputs, init_image)
    if change == "in place":
        changed(getattr(pipeline, part))
    else:
        other = changed(copy.deepcopy(getattr(pipeline, part)))
        if change != "exchanged":
            setattr(pipeline, part, None)  # frees it, so that its memory may be used again
            other = copy.deepcopy(other)
        setattr(pipeline, part, other)
    actual = finished_latents(pipeline, inputs, init_image)
    fresh = new_pipeline()
    changed(getattr(fresh, part))
    assert torch.equal(actual, finished_latents(fresh, inputs, init_image))
    assert not torch.equal(actual, before)
    hits = pipeline.latent_cache.num_hits, pipeline.embedding_cache.num_hits
    pipeline.prepare(inputs, init_image)
    assert pipeline.latent_cache.num_hits > hits[0]  # an unchanged network still has its results
    assert pipeline.embedding_cache.num_hits > hits[1]


def test_the_first_noise_of_euler_a_s_steps_is_not_the_initial_noise(
    pipeline: RiffusionPipeline,
) -> None:
    """Equal noise would add up: the level after the first step was 41 % too high."""
    job = pipeline.prepare(request(scheduler="euler_a", mode="txt2img", duration_s=0.48))
    initial = job.latents / job.scheduler.init_noise_sigma
    first = torch.randn(job.shape, generator=job.generator)
    correlation = torch.corrcoef(torch.stack([initial.flatten(), first.flatten()]))[0, 1]
    assert abs(float(correlation)) < 5 / initial.numel() ** 0.5  # five standard deviations
