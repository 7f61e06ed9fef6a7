"""A text-conditional model from scratch: it learns, and samples on the schedule of its training."""

import json
from pathlib import Path
from typing import Any

import pytest

from riffusion.diffusion import RiffusionPipeline
from riffusion.errors import InputError
from tests.datasets.striped_dataset import make_striped_dataset
from tests.training.recipe_runs import QUIET, loss_of, new_recipe, tiny_vae, train

SIDE = 16


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_striped_dataset(tmp_path_factory.mktemp("data") / "stripes", side=SIDE)


@pytest.fixture(scope="module")
def vae(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("vae")
    tiny_vae(scaling_factor=1.0).save_pretrained(folder / "vae")
    return folder


def config_of(dataset: Path, vae: Path, output: Path, **others: Any) -> dict[str, Any]:
    return {
        "task": "text_to_spectrogram",
        "output": str(output),
        "vae": str(vae),
        "data": {"dataset": str(dataset), "batch_size": 8, "circular_shifts": 4},
        "unet": {
            "block_out_channels": [16, 32],
            "layers_per_block": 1,
            "norm_num_groups": 8,
            "attention_head_dim": 2,
            "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D"],
            "up_block_types": ["CrossAttnUpBlock2D", "UpBlock2D"],
        },
        "text_encoder": {
            "hidden_size": 16,
            "intermediate_size": 32,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
        },
        "vocabulary_size": 560,
        "optimizer": {"learning_rate": 3e-3, "warmup_steps": 1},
        "sample": {"prompts": ["tone", "beat"], "seeds": 3, "steps": 2},
        "run": QUIET | {"steps": 60},
        **others,
    }


def test_it_learns_and_samples_one_row_per_prompt(dataset: Path, vae: Path, tmp_path: Path) -> None:
    config = config_of(dataset, vae, tmp_path / "run")
    before = loss_of(new_recipe(config, tmp_path), tmp_path)
    recipe, folder = train(config, tmp_path)
    assert loss_of(recipe, tmp_path) < 0.7 * before
    samples = recipe.sample()
    assert [len(row) for row in samples.rows] == [3, 3]
    assert [caption for caption, _ in samples.played] == ["tone", "beat"]
    RiffusionPipeline.from_pretrained(folder, device="cpu")


@pytest.mark.parametrize("is_zero", [False, True])
def test_the_checkpoint_samples_on_the_schedule_of_its_training(
    dataset: Path, vae: Path, tmp_path: Path, is_zero: bool
) -> None:
    schedule = {"rescale_betas_zero_snr": is_zero, "beta_end": 0.02}
    config = config_of(dataset, vae, tmp_path / "run", objective={"noise_schedule": schedule})
    recipe = new_recipe(config, tmp_path)
    recipe.export(tmp_path / "checkpoint")
    written = json.loads((tmp_path / "checkpoint/scheduler/scheduler_config.json").read_text())
    assert schedule.items() <= written.items()
    assert written["timestep_spacing"] == "trailing"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"text_encoder": {"vocab_size": 9}}, r"text_encoder\.vocab_size=9 must be \d+ to fit the"),
        ({"text_encoder": {"num_attention_heads": 3}}, "text_encoder: CLIPTextModel refuses this"),
        ({"init_from": "VAE"}, r"init_from=.* has no tokenizer; name a whole checkpoint"),
    ],
)
def test_contradictions_are_named(
    dataset: Path, vae: Path, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    config = config_of(dataset, vae, tmp_path / "run")
    for name, value in changes.items():
        value = str(vae) if value == "VAE" else value
        config[name] = config.get(name, {}) | value if isinstance(value, dict) else value
    with pytest.raises(InputError, match=message) as caught:
        new_recipe(config, tmp_path)
    assert "\n" not in str(caught.value)
