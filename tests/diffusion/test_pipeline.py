"""The pipeline: compared with stock diffusers pipelines, and its own guarantees."""

import copy
from pathlib import Path
from typing import Any, get_args

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image

from riffusion.datatypes import InferenceInput, SchedulerName
from riffusion.diffusion import RiffusionPipeline
from riffusion.errors import InputError
from riffusion.spectrogram.params import SpectrogramParams

MAX_LATENT_ERROR = 1e-4  # float32 sums in another order, latents of about 1
MAX_GREY_LEVELS = 1  # rounding to 8 bits
SIZE = 48
SCHEDULERS: list[SchedulerName] = [
    "pndm", "ddim", "dpmsolver++", "unipc", "euler", "euler_a", "lms", "lcm",
]  # fmt: skip


@pytest.fixture(scope="module")
def pipeline(pristine: Path) -> RiffusionPipeline:
    pipeline = RiffusionPipeline.from_pretrained(pristine, device="cpu")
    pipeline.spectrogram_params = SpectrogramParams(num_frequencies=SIZE)  # small, so quick
    return pipeline


@pytest.fixture(scope="module")
def init_image() -> Image.Image:
    rng = np.random.default_rng(0)
    return Image.fromarray(rng.integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8))


def request(**changes: Any) -> InferenceInput:
    ends = {"start": {"prompt": "piano", "seed": 1}, "end": {"prompt": "bells", "seed": 2}}
    start = ends["start"] | changes.pop("start", {})
    end = ends["end"] | changes.pop("end", {})
    return InferenceInput.parse(
        {"start": start, "end": end, "alpha": 0.0, "num_inference_steps": 4} | changes
    )


def difference(first: Image.Image, second: Image.Image) -> int:
    return int(np.abs(np.asarray(first).astype(int) - np.asarray(second).astype(int)).max())


def finished_latents(pipeline: RiffusionPipeline, *args: Any) -> torch.Tensor:
    job = pipeline.prepare(*args)
    while not job.is_done:
        pipeline.step([job])
    return job.latents


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
        pipeline.prepare(inputs, init_image).scheduler,
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
    expected.generator = torch.Generator().manual_seed(5)
    torch.randn(expected.shape, generator=expected.generator)  # the initial noise
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


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_batched_jobs_equal_single_jobs(
    pipeline: RiffusionPipeline, init_image: Image.Image, scheduler: SchedulerName
) -> None:
    mask = Image.linear_gradient("L")
    requests: list[tuple[InferenceInput, Image.Image | None, Image.Image | None]] = [
        (request(scheduler=scheduler, num_inference_steps=5), init_image, None),
        (request(num_inference_steps=3, start={"guidance": 0.0}), init_image, mask),
        (
            request(num_inference_steps=4, alpha=0.5, end={"negative_prompt": "piano"}),
            init_image,
            None,
        ),
        (request(start={"prompt": "piano " * 90}), init_image, None),
        (request(mode="txt2img", duration_s=0.1), None, None),
    ]
    alone = [pipeline.riffuse(*arguments) for arguments in requests]
    jobs = [pipeline.prepare(*arguments) for arguments in requests]
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


@pytest.mark.parametrize(("alpha", "end"), [(0.0, "start"), (1.0, "end")])
def test_interpolation_at_0_and_1_equals_its_ends(
    pipeline: RiffusionPipeline, init_image: Image.Image, alpha: float, end: str
) -> None:
    changes = {
        "start": {"negative_prompt": "bells", "denoising": 0.5, "guidance": 3.0},
        "end": {"denoising": 0.9},
    }
    inputs = request(alpha=alpha, **changes)
    alone = inputs.model_copy(update={"start": getattr(inputs, end), "end": getattr(inputs, end)})
    blended = pipeline.prepare(inputs, init_image)
    expected = pipeline.prepare(alone, init_image)
    assert torch.equal(blended.timesteps, expected.timesteps)
    assert blended.guidance == pytest.approx(expected.guidance)
    assert torch.allclose(blended.embeddings, expected.embeddings, atol=MAX_LATENT_ERROR)


def test_alpha_between_differs_from_both_ends(
    pipeline: RiffusionPipeline, init_image: Image.Image
) -> None:
    start, middle, end = (
        pipeline.riffuse(request(alpha=alpha), init_image) for alpha in (0.0, 0.5, 1.0)
    )
    assert min(difference(middle, start), difference(middle, end), difference(start, end)) > 10


@pytest.mark.parametrize(
    ("change", "differs"),
    [
        ({"start": {"negative_prompt": "bells"}}, True),
        ({"start": {"negative_prompt": "bells", "guidance": 1.0}}, False),
        ({"start": {"prompt": "(piano:1.5) bells"}}, True),
        ({"start": {"prompt": "piano (bells:0)"}}, True),
        ({"start": {"prompt": "(piano:1.0)"}}, False),
    ],
    ids=["negative", "negative unguided", "weights", "weight zero", "weight one"],
)
def test_changes_that_reach_the_unet(
    pipeline: RiffusionPipeline, init_image: Image.Image, change: dict[str, Any], differs: bool
) -> None:
    plain = {"start": {"guidance": change["start"].get("guidance", 7.0)}}
    actual = finished_latents(pipeline, request(**change), init_image)
    baseline = finished_latents(pipeline, request(**plain), init_image)
    assert torch.isfinite(actual).all()
    assert bool((actual - baseline).abs().max() > 1e-3) == differs


def test_brackets_are_text_without_reweighting(pipeline: RiffusionPipeline) -> None:
    assert not torch.equal(pipeline.embed_text("(piano)"), pipeline.embed_text_weighted("(piano)"))
    assert torch.equal(pipeline.embed_text("piano"), pipeline.embed_text_weighted("piano"))


def test_words_beyond_75_tokens_are_embedded(pipeline: RiffusionPipeline) -> None:
    long = "piano " * 80
    short, longer = pipeline.embed_text_weighted("piano"), pipeline.embed_text_weighted(long)
    assert (short.shape[1], longer.shape[1]) == (77, 154)
    other = pipeline.embed_text_weighted(long + "bells")
    assert torch.equal(longer[:, :77], other[:, :77])
    assert not torch.equal(longer[:, 77:], other[:, 77:])


def test_mask_keeps_black_and_repaints_white(
    pipeline: RiffusionPipeline, init_image: Image.Image
) -> None:
    mask = Image.new("L", (2, 1))  # left black, right white; stretched to the image
    mask.putpixel((1, 0), 255)
    mask = mask.resize((200, 100), Image.Resampling.NEAREST)
    image = pipeline.riffuse(request(start={"denoising": 1.0}), init_image, mask)
    half = (0, 0, SIZE // 2 - 2, SIZE)  # the resampled edge is grey for a pixel or two
    assert difference(image.crop(half), init_image.crop(half)) == 0
    rest = (SIZE // 2 + 2, 0, SIZE, SIZE)
    assert difference(image.crop(rest), init_image.crop(rest)) > 50


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_kept_latents_end_without_noise(
    pipeline: RiffusionPipeline, init_image: Image.Image, scheduler: SchedulerName
) -> None:
    job = pipeline.prepare(
        request(scheduler=scheduler), init_image, Image.new("L", init_image.size, 0)
    )
    while not job.is_done:
        pipeline.step([job])
    assert job.inpainting is not None
    assert torch.equal(job.latents, job.inpainting.init_latents)


@pytest.mark.parametrize("size", [(1, 1), (SIZE, SIZE - 1), (33, 70), (257, 8)])
def test_odd_sizes_keep_their_size(pipeline: RiffusionPipeline, size: tuple[int, int]) -> None:
    image = pipeline.riffuse(request(num_inference_steps=2), Image.effect_noise(size, 50))
    assert image.size == size


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "1"])
def test_any_image_mode_is_an_init_image(
    pipeline: RiffusionPipeline, init_image: Image.Image, mode: str
) -> None:
    assert pipeline.riffuse(request(num_inference_steps=2), init_image.convert(mode)).mode == "RGB"


def test_denoising_that_rounds_to_no_step_keeps_the_image(
    pipeline: RiffusionPipeline, init_image: Image.Image
) -> None:
    job = pipeline.prepare(
        request(scheduler="ddim", start={"denoising": 0.1}, num_inference_steps=5), init_image
    )
    assert job.is_done
    posterior = pipeline.vae.encode(job.geometry.pixels_from_image(init_image)).latent_dist
    noise = torch.randn(posterior.mean.shape, generator=torch.Generator().manual_seed(1))
    expected = (posterior.mean + posterior.std * noise) * pipeline.vae.config.scaling_factor
    assert torch.allclose(job.latents, expected, atol=MAX_LATENT_ERROR)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("scheduler", [None, *get_args(SchedulerName)])
def test_denoising_of_0_is_the_vaes_pass_alone(
    pipeline: RiffusionPipeline,
    init_image: Image.Image,
    scheduler: SchedulerName | None,
    masked: bool,
) -> None:
    inputs = request(scheduler=scheduler, start={"denoising": 0.0}, num_inference_steps=5)
    mask = Image.new("L", init_image.size, 255) if masked else None
    job = pipeline.prepare(inputs, init_image, mask)
    assert (job.num_steps, job.is_done) == (0, True)
    with torch.inference_mode():
        posterior = pipeline.vae.encode(job.geometry.pixels_from_image(init_image)).latent_dist
        noise = torch.randn(posterior.mean.shape, generator=torch.Generator().manual_seed(1))
        pixels = pipeline.vae.decode(posterior.mean + posterior.std * noise).sample[0]
    expected = np.asarray(job.geometry.image_from_pixels(pixels), dtype=int)
    image = np.asarray(pipeline.riffuse(inputs, init_image, mask), dtype=int)
    assert np.abs(image - expected).max() <= 1  # one grey level of rounding
    assert (
        pipeline.prepare(
            request(scheduler=scheduler, start={"denoising": 0.5}, num_inference_steps=5),
            init_image,
        ).num_steps
        > 0
    )


def test_images_depend_on_the_seed_and_not_on_the_global_generator(
    pipeline: RiffusionPipeline, init_image: Image.Image
) -> None:
    torch.manual_seed(5)
    first = pipeline.riffuse(request(scheduler="euler_a"), init_image)
    torch.manual_seed(6)
    assert difference(pipeline.riffuse(request(scheduler="euler_a"), init_image), first) == 0
    other = request(scheduler="euler_a", start={"seed": 2**63 - 1})
    assert difference(pipeline.riffuse(other, init_image), first) > 0


def test_mask_without_image_is_refused(pipeline: RiffusionPipeline) -> None:
    with pytest.raises(InputError, match="mask_image"):
        pipeline.prepare(request(), None, Image.new("L", (8, 8)))


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
