"""Unconditional diffusion of pixels and latents: it learns, and stock diffusers reads it."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDIMPipeline, DDPMPipeline, DiffusionPipeline, LDMPipeline

from riffusion.errors import InputError
from riffusion.generation.unconditional import UnconditionalGenerator
from riffusion.generation.unconditional_request import UnconditionalRequest
from riffusion.spectrogram.params import SpectrogramParams
from tests.datasets.striped_dataset import make_striped_dataset
from tests.training.recipe_runs import QUIET, loss_of, new_recipe, tiny_vae, train

SIDE = 16
HALF_PRECISION_LEVELS = 3
"""Grey levels by which rounding the weights to half precision may change an image of a few steps.
"""


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_striped_dataset(tmp_path_factory.mktemp("data") / "stripes", side=SIDE)


@pytest.fixture(scope="module")
def vae(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("vae")
    tiny_vae(scaling_factor=1.0).save_pretrained(folder / "vae")
    return folder


def config_of(dataset: Path, output: Path, steps: int = 60, **others: Any) -> dict[str, Any]:
    return {
        "task": "unconditional",
        "output": str(output),
        "data": {"dataset": str(dataset), "batch_size": 8, "circular_shifts": 4},
        "unet": {
            "block_out_channels": [16, 32],
            "layers_per_block": 1,
            "norm_num_groups": 8,
            "down_block_types": ["DownBlock2D"] * 2,
            "up_block_types": ["UpBlock2D"] * 2,
        },
        "optimizer": {"learning_rate": 3e-3, "warmup_steps": 5},
        "sample": {"images": 2, "steps": 4},
        "run": QUIET | {"steps": steps},
        **others,
    }


def pixels_of(image: Any) -> np.ndarray:
    return np.asarray(image, dtype=np.int16)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_pixels_are_learned_and_stock_pipelines_generate_the_same(
    dataset: Path, tmp_path: Path, prediction: str
) -> None:
    config = config_of(dataset, tmp_path / "run", objective={"prediction": prediction})
    before = loss_of(new_recipe(config, tmp_path), tmp_path)
    recipe, folder = train(config, tmp_path)
    assert loss_of(recipe, tmp_path) < 0.5 * before
    assert SpectrogramParams.load(folder).num_frequencies == SIDE
    ours = recipe.sample().rows[0]
    for kind in (DDIMPipeline, DDPMPipeline, DiffusionPipeline):
        pipeline = kind.from_pretrained(folder)
        pipeline.set_progress_bar_config(disable=True)
        generators = [torch.Generator().manual_seed(seed) for seed in range(2)]
        drawn = pipeline(batch_size=2, generator=generators, num_inference_steps=4).images
        assert [image.mode for image in drawn] == ["L", "L"]
        for image, same in zip(drawn, ours, strict=True):
            difference = np.abs(pixels_of(image.convert("RGB")) - pixels_of(same)).max()
            assert difference <= HALF_PRECISION_LEVELS
    generator = UnconditionalGenerator.open(str(folder), "cpu")
    clips = generator.generate(UnconditionalRequest(count=2, steps=4, scheduler="ddim"))
    for clip, same in zip(clips, ours, strict=True):
        assert np.abs(pixels_of(clip.image) - pixels_of(same)).max() <= HALF_PRECISION_LEVELS


def test_ddim_is_deterministic_and_depends_on_the_seed(dataset: Path, tmp_path: Path) -> None:
    recipe = new_recipe(config_of(dataset, tmp_path / "run"), tmp_path)
    first, second = recipe.sample().rows[0], recipe.sample().rows[0]
    assert [pixels_of(p).tolist() for p in first] == [pixels_of(p).tolist() for p in second]
    assert pixels_of(first[0]).tolist() != pixels_of(first[1]).tolist()


def test_ddpm_samples_three_channels(dataset: Path, tmp_path: Path) -> None:
    config = config_of(dataset, tmp_path / "run", steps=2, channels=3)
    config["optimizer"]["warmup_steps"] = 1
    config["sample"]["sampler"] = "ddpm"
    recipe, folder = train(config, tmp_path)
    pipeline = DiffusionPipeline.from_pretrained(folder)
    assert isinstance(pipeline, DDPMPipeline)
    assert pipeline.unet.config.in_channels == 3
    assert recipe.sample().rows[0][0].size == (SIDE, SIDE)


def test_crops_are_learned_and_generated_at_their_width(dataset: Path, tmp_path: Path) -> None:
    config = config_of(dataset, tmp_path / "run", steps=2)
    config["optimizer"]["warmup_steps"] = 1
    config["data"]["crop_width"] = 8
    recipe, folder = train(config, tmp_path)
    assert recipe.sample().rows[0][0].size == (8, SIDE)
    pipeline = DDIMPipeline.from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    assert pipeline(num_inference_steps=2).images[0].size == (8, SIDE)


def test_resized_images_keep_their_pitch_and_tempo(dataset: Path, tmp_path: Path) -> None:
    config = config_of(dataset, tmp_path / "run")
    config["data"]["resolution"] = SIDE // 2
    recipe = new_recipe(config, tmp_path)
    recipe.export(tmp_path / "checkpoint")
    params, before = SpectrogramParams.load(tmp_path / "checkpoint"), recipe.folder.params
    assert params.num_frequencies == SIDE // 2
    assert params.step_size_ms * SIDE // 2 == before.step_size_ms * SIDE
    config["data"]["resolution"] = SIDE - 4
    with pytest.raises(InputError, match=r"data\.resolution=12 gives images .* of 53\.3333 ms"):
        _ = new_recipe(config, tmp_path).params


def test_stereo_needs_three_channels(dataset: Path, tmp_path: Path) -> None:
    stereo = shutil.copytree(dataset, tmp_path / "stereo")
    SpectrogramParams(num_frequencies=SIDE, stereo=True).save(stereo)
    with pytest.raises(InputError, match="channels=1 is not enough for stereo images"):
        new_recipe(config_of(stereo, tmp_path / "run"), tmp_path)
    new_recipe(config_of(stereo, tmp_path / "run", channels=3), tmp_path)


def test_latents_are_learned_and_a_stock_pipeline_generates_the_same(
    dataset: Path, vae: Path, tmp_path: Path
) -> None:
    config = config_of(dataset, tmp_path / "run", vae=str(vae))
    before = loss_of(new_recipe(config, tmp_path), tmp_path)
    recipe, folder = train(config, tmp_path)
    assert loss_of(recipe, tmp_path) < 0.6 * before
    pipeline = LDMPipeline.from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    assert pipeline.unet.config.in_channels == 4
    ours = recipe.sample().rows[0]
    noise = [torch.Generator().manual_seed(seed) for seed in range(2)]
    drawn = pipeline(batch_size=2, generator=noise, num_inference_steps=4).images
    for image, same in zip(drawn, ours, strict=True):
        assert np.abs(pixels_of(image) - pixels_of(same)).max() <= HALF_PRECISION_LEVELS
    assert "LDMPipeline" in (folder / "README.md").read_text()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": {"resolution": 27}}, r"data.resolution=27 must be a multiple of 2, by which"),
        ({"data": {"crop_width": 7}}, r"data.crop_width=7 must be a multiple of 2"),
        ({"unet": {"in_channels": 2}}, r"unet.in_channels=2 must be 1 to fit the images"),
        ({"unet": {"block_channels": [8]}}, r"unet.block_channels is not an option of UNet2DModel"),
        ({"vae": "VAE", "channels": 3}, r"channels=3 applies to pixels, but vae=.* determines"),
        ({"vae": "VAE", "sample": {"sampler": "ddpm"}}, r"sampler='ddpm' is for pixels"),
        ({"vae": "VAE", "unet": {"in_channels": 1}}, r"unet.in_channels=1 must be 4 to fit the la"),
        ({"vae": "VAE", "data": {"resolution": 30}}, r"data.resolution=30 must be a multiple of 4"),
        ({"vae": "/nowhere"}, r"checkpoint='/nowhere' has no vae"),
        ({"init_from": "VAE"}, r"has no unet"),
    ],
)
def test_contradictions_are_named(
    dataset: Path, vae: Path, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    config = config_of(dataset, tmp_path / "run")
    for name, value in changes.items():
        value = str(vae) if value == "VAE" else value
        config[name] = config.get(name, {}) | value if isinstance(value, dict) else value
    with pytest.raises(InputError, match=message) as caught:
        new_recipe(config, tmp_path)
    assert "\n" not in str(caught.value)
