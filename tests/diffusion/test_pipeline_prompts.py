"""Prompts in the pipeline: interpolation between two, weights, and long ones."""

from typing import Any

import pytest
import torch
from PIL import Image

from riffusion.diffusion import RiffusionPipeline
from tests.diffusion.pipeline_requests import (
    MAX_LATENT_ERROR,
    difference,
    finished_latents,
    request,
)


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
    assert blended.timesteps.tolist() == expected.timesteps.tolist()
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
