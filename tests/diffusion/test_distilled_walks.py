"""Distilled checkpoints with masks, and between two prompts or seeds."""

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from riffusion.diffusion import RiffusionPipeline
from tests.diffusion.distilled_pipelines import TXT2IMG, instant
from tests.diffusion.pipeline_requests import MAX_LATENT_ERROR, SIZE, finished_latents


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
