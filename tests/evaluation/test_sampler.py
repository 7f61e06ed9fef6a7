"""Drawn and reconstructed clips: batches change nothing, and NaN is refused."""

from pathlib import Path

import pytest
import torch
from PIL import Image

from riffusion.diffusion import RiffusionPipeline
from riffusion.errors import CheckpointError, InputError
from riffusion.evaluation.images import plane_from_image
from riffusion.evaluation.metrics.reconstruction import reconstruct
from riffusion.evaluation.prompts import ClipPrompt
from riffusion.evaluation.sampler import Sampler
from riffusion.evaluation.settings import EvaluationSettings
from tests.corpora.small_corpus import (
    LABELS,
    PARAMS,
    SIDE,
)

SAME_PIXELS = 1
"""Grey levels: UNet calls with more rows round differently."""


def break_output(network: torch.nn.Module) -> None:
    """Make a network of any class return NaN."""
    *_, bias = network.parameters()
    bias.data.fill_(torch.nan)


@pytest.mark.parametrize("network", ["unet", "vae"])
def test_a_clip_of_nan_is_refused(pipeline: RiffusionPipeline, network: str) -> None:
    break_output(pipeline.unet if network == "unet" else pipeline.vae.decoder)
    sampler = Sampler(pipeline, EvaluationSettings(steps=2), (SIDE, SIDE))
    prompt = ClipPrompt("pad", "bare", "a pad", 7)
    with pytest.raises(CheckpointError, match="prompt='a pad', seed=7, .* contains NaN"):
        sampler.sample_prompts([prompt], "drawing")


def test_a_reconstruction_of_nan_is_refused(pipeline: RiffusionPipeline, corpus: Path) -> None:
    break_output(pipeline.vae.decoder)
    with pytest.raises(CheckpointError, match="copy of 'pad_000.png' contains NaN"):
        reconstruct(pipeline, [corpus / "validation" / "pad_000.png"])


def test_reconstruction_uses_the_mean_of_the_posterior(pristine: Path, corpus: Path) -> None:
    """A VAE has them; the embedded checkpoint's autoencoder has no posterior."""
    pipeline = RiffusionPipeline.from_pretrained(pristine, device="cpu")
    path = corpus / "validation" / "pad_000.png"
    done = reconstruct(pipeline, [path])
    with Image.open(path) as image:
        pixels = torch.tensor(list(image.convert("RGB").get_flattened_data())).float()
    pixels = pixels.reshape(1, SIDE, SIDE, 3).permute(0, 3, 1, 2)
    with torch.inference_mode():
        latents = pipeline.vae.encode(pixels / 127.5 - 1).latent_dist.mean
        copy = pipeline.vae.decode(latents).sample.clamp(-1, 1)
    levels = ((copy + 1) * 127.5).round()
    assert done.errors[0] == pytest.approx(float((levels - pixels).abs().mean()), abs=0.01)
    expected = 255 - levels[0, 0].numpy()
    assert abs(done.copies[0].astype(int) - expected).max() <= SAME_PIXELS


def test_batched_clips_equal_single_ones(pipeline: RiffusionPipeline) -> None:
    prompts = [ClipPrompt(label, "bare", label, seed) for seed, label in enumerate(LABELS)]
    settings = EvaluationSettings(steps=2, batch_size=3)
    together = Sampler(pipeline, settings, (SIDE, SIDE)).sample_prompts(prompts, "together")
    for prompt, plane in zip(prompts, together, strict=True):
        sampler = Sampler(pipeline, settings, (SIDE, SIDE))
        alone = pipeline.riffuse(sampler.request(prompt.prompt, prompt.seed))
        difference = plane.astype(int) - plane_from_image(alone, PARAMS)
        assert abs(difference).max() <= SAME_PIXELS


def test_guidance_applies_in_its_interval_only(pipeline: RiffusionPipeline) -> None:
    settings = EvaluationSettings(steps=4, guidance_interval=(0.25, 0.75))
    job = pipeline.prepare(Sampler(pipeline, settings, (SIDE, SIDE)).request("pad", 0))
    rows = []
    while not job.is_done:
        rows.append(job.num_rows)
        pipeline.step([job])
    assert rows == [1, 2, 2, 1]


def test_captions_that_are_too_long_are_refused(pipeline: RiffusionPipeline) -> None:
    sampler = Sampler(pipeline, EvaluationSettings(), (SIDE, SIDE))
    with pytest.raises(InputError, match="start.prompt: String should have at most 4000"):
        sampler.request("la " * 2000, 0)
