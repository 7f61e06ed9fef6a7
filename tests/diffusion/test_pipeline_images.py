"""Init images and masks in the pipeline, of any size and mode."""

from typing import get_args

import numpy as np
import pytest
import torch
from PIL import Image

from riffusion.datatypes import SchedulerName
from riffusion.diffusion import RiffusionPipeline
from riffusion.errors import InputError
from tests.diffusion.pipeline_requests import (
    MAX_LATENT_ERROR,
    SCHEDULERS,
    SIZE,
    difference,
    request,
)


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
    posterior = pipeline.vae.encode(
        torch.from_numpy(job.geometry.pixels_from_image(init_image))
    ).latent_dist
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
        posterior = pipeline.vae.encode(
            torch.from_numpy(job.geometry.pixels_from_image(init_image))
        ).latent_dist
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


def test_mask_without_image_is_refused(pipeline: RiffusionPipeline) -> None:
    with pytest.raises(InputError, match="mask_image"):
        pipeline.prepare(request(), None, Image.new("L", (8, 8)))
