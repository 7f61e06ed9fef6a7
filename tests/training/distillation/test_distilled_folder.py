"""The folder of a student: what it says of itself, and what stock diffusers draws with it."""

import json
from typing import Any

import numpy as np
import torch
from diffusers import LatentConsistencyModelPipeline, LCMScheduler

from riffusion.diffusion import RiffusionPipeline
from riffusion.diffusion.torch_random import generator_from_seed
from tests.training.distillation.runs import SIDE
from tests.training.distillation.students import HALF_PRECISION_LEVELS


def test_the_checkpoint_says_what_it_can(full_run: Any) -> None:
    *_, folder = full_run
    checkpoint = folder / "checkpoint"
    assert json.loads((checkpoint / "distillation.json").read_text()) == {
        "max_steps": 5,
        "guidance": [1.0, 10.0],
        "guided_sampling": True,
        "solver_steps": 5,
    }
    config = json.loads((checkpoint / "unet/config.json").read_text())
    assert config["time_cond_proj_dim"] == 256
    pipeline = RiffusionPipeline.from_pretrained(checkpoint, device="cpu")
    assert type(pipeline.scheduler).__name__ == "DPMSolverMultistepScheduler"
    card = (checkpoint / "README.md").read_text()
    assert "teacher: checkpoint, predicts v_prediction, guidance 1 to 10, drawn per example" in card
    assert "guided sampling in many steps: as the teacher" in card
    assert "by `riffusion distill`" in card


def test_stock_diffusers_draws_the_sample_grid(full_run: Any) -> None:
    """The exported checkpoint in its latent consistency pipeline, with the same noise."""
    _, recipe, folder = full_run
    stock = LatentConsistencyModelPipeline.from_pretrained(
        folder / "checkpoint", torch_dtype=torch.float32
    )
    stock.scheduler = LCMScheduler.from_config(
        recipe.objective.path.scheduler.config, clip_sample=False
    )
    stock.set_progress_bar_config(disable=True)
    sampled = recipe.sample()
    assert sampled.captions == ["tone", "beat"]
    for caption, row in zip(sampled.captions, sampled.rows, strict=True):
        for seed, image in enumerate(row):
            generator = generator_from_seed(seed)
            expected = stock(
                caption,
                height=SIDE,
                width=image.width,
                num_inference_steps=4,
                guidance_scale=5.5,  # the middle of the range
                latents=torch.randn(1, 4, SIDE // 2, image.width // 2, generator=generator),
                generator=generator,
            ).images[0]
            found = np.asarray(image, dtype=np.int16)
            error = np.abs(np.asarray(expected, dtype=np.int16) - found)
            assert error.max() <= HALF_PRECISION_LEVELS
