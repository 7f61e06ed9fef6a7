"""Distilled checkpoints and their making: a UNet that is told the guidance, and fine-tuning it."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from riffusion.checkpoint.distillation import Distillation
from riffusion.checkpoint.loader import load_components
from riffusion.datatypes import InferenceInput
from riffusion.diffusion import RiffusionPipeline
from riffusion.errors import InputError
from riffusion.training.networks.distilled_unet import GUIDANCE_WIDTH, told_the_guidance
from tests.checkpoint.checkpoints import distilled_copy, tiny_model, write_folder
from tests.datasets.striped_dataset import make_striped_dataset
from tests.training.recipe_runs import QUIET, new_recipe, train

SIDE = 16
DUAL = Distillation(8, (1.0, 10.0), guided_sampling=True)


def config_of(checkpoint: Path, dataset: Path, output: Path, **others: Any) -> dict[str, Any]:
    return {
        "task": "fine_tune",
        "checkpoint": str(checkpoint),
        "output": str(output),
        "data": {"dataset": str(dataset), "batch_size": 4},
        "optimizer": {"learning_rate": 5e-3, "warmup_steps": 1, "weight_decay": 0.0},
        "run": QUIET | {"steps": 3},
        **others,
    }


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_striped_dataset(tmp_path_factory.mktemp("data") / "stripes", side=SIDE)


@pytest.fixture
def distilled(tmp_path: Path) -> Path:
    return write_folder(distilled_copy(tiny_model()), tmp_path / "distilled")


@pytest.mark.parametrize("has_key", [True, False])
def test_the_unet_of_any_release_can_be_told_the_guidance(has_key: bool, tmp_path: Path) -> None:
    """Older configurations, like that of the published Riffusion, lack the key."""
    folder = write_folder(tiny_model(), tmp_path / "teacher")
    if not has_key:
        path = folder / "unet/config.json"
        config = json.loads(path.read_text())
        del config["time_cond_proj_dim"]
        path.write_text(json.dumps(config))
    unet = load_components(str(folder), device="cpu").unet
    told = told_the_guidance(unet)
    assert told.config.time_cond_proj_dim == GUIDANCE_WIDTH
    rows, states = torch.randn(2, 4, 8, 8), torch.randn(2, 77, 64)
    with torch.no_grad():
        expected = unet(rows, 500, states).sample
        found = told(rows, 500, states, timestep_cond=torch.randn(2, GUIDANCE_WIDTH)).sample
    assert torch.equal(found, expected)


@pytest.mark.parametrize("others", [{}, {"lora": {"rank": 2, "alpha": 2}}])
def test_fine_tuning_keeps_what_a_distilled_checkpoint_can_do(
    distilled: Path, dataset: Path, tmp_path: Path, others: dict[str, Any]
) -> None:
    DUAL.save(distilled)
    sample = {"prompts": ["tone"], "seeds": 1, "steps": 12}
    config = config_of(distilled, dataset, tmp_path / "run", **others) | {"sample": sample}
    recipe, folder = train(config, tmp_path)
    assert len(recipe.sample().rows[0]) == 1  # twelve guided steps
    pipeline = RiffusionPipeline.from_pretrained(folder, device="cpu")
    assert pipeline.distillation == DUAL
    start = {"prompt": "tone", "seed": 1}
    for values, num_rows in (({"preset": "instant"}, 1), ({"preset": "fast"}, 2)):
        inputs = InferenceInput.parse({"start": start, "mode": "txt2img", **values})
        assert pipeline.prepare(inputs).num_rows == num_rows


def test_fine_tuning_needs_guided_sampling(distilled: Path, dataset: Path, tmp_path: Path) -> None:
    config = config_of(distilled, dataset, tmp_path / "run")
    with pytest.raises(InputError, match=r"checkpoint='.*' is a distilled network without guided"):
        new_recipe(config, tmp_path)
