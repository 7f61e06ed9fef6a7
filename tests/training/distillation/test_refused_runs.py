"""Runs that can't distill are refused in one line."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from riffusion.checkpoint.distillation import Distillation
from riffusion.datasets.encode import encode_dataset
from riffusion.datasets.folder import DatasetFolder
from riffusion.errors import InputError
from tests.training.distillation.runs import config_of
from tests.training.distillation.students import new_distillation
from tests.training.recipe_runs import new_recipe


def refusal(config: dict[str, Any], folder: Path) -> str:
    """The one line that refuses a run, by the command line."""
    with pytest.raises(InputError) as caught:
        recipe = new_recipe(config, folder)
        recipe.examples("train", folder / "cache")
    line = str(caught.value)
    assert "\n" not in line
    return line


def test_a_teacher_that_cannot_be_guided_is_refused(
    full_run: Any, dataset: Path, tmp_path: Path
) -> None:
    *_, folder = full_run
    published = shutil.copytree(folder / "checkpoint", tmp_path / "published")
    (published / "distillation.json").unlink()
    config = config_of(published, dataset, tmp_path / "run")
    assert refusal(config, tmp_path) == (
        f"checkpoint={str(published)!r} is a distilled network without guided sampling, but a "
        "teacher is sampled with guidance in many steps; name the checkpoint that it was distilled "
        "from"
    )
    Distillation(4, (2.0, 3.0), guided_sampling=False).save(published)
    assert "is a distilled network without guided sampling" in refusal(config, tmp_path)


def test_a_lora_for_a_distilled_checkpoint_is_refused(
    full_run: Any, dataset: Path, tmp_path: Path
) -> None:
    *_, folder = full_run
    config = config_of(folder / "checkpoint", dataset, tmp_path / "run", student="lora")
    line = refusal(config, tmp_path)
    assert "is distilled already, and student=lora would change its guided sampling" in line
    assert "use student=full" in line


def test_lora_for_modules_that_do_not_exist_is_refused(
    random_teacher: Path, dataset: Path, tmp_path: Path
) -> None:
    options = {"student": "lora", "lora": {"unet_modules": ["to_q", "query"]}}
    line = refusal(config_of(random_teacher, dataset, tmp_path / "run", **options), tmp_path)
    assert line.startswith("lora.unet_modules: no linear or convolutional layer's name ends in 'qu")


def test_latents_of_another_vae_are_refused(
    random_teacher: Path, dataset: Path, tmp_path: Path
) -> None:
    vae = new_distillation(config_of(random_teacher, dataset, tmp_path / "a"), tmp_path).vae
    with torch.no_grad():
        vae.encoder.conv_in.weight += 0.1
    encode_dataset(DatasetFolder(dataset), vae, tmp_path / "packed")
    config = config_of(random_teacher, tmp_path / "packed", tmp_path / "run")
    assert "holds latents of encoder" in refusal(config, tmp_path)


def test_a_teacher_that_predicts_the_image_is_refused(
    random_teacher: Path, dataset: Path, tmp_path: Path
) -> None:
    teacher = shutil.copytree(random_teacher, tmp_path / "teacher")
    path = teacher / "scheduler/scheduler_config.json"
    path.write_text(path.read_text().replace("v_prediction", "sample"))
    line = refusal(config_of(teacher, dataset, tmp_path / "run"), tmp_path)
    assert line.endswith("predicts 'sample'; only epsilon and v_prediction can be trained")
