"""Runs that distill: exact resuming, the moving average, captions, packed latents, the command."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from riffusion.cli.app import main
from riffusion.datasets.encode import encode_dataset
from riffusion.datasets.folder import DatasetFolder, DatasetRow, write_metadata
from riffusion.training.recipes.distillation import DistillationRecipe
from tests.checkpoint.checkpoints import UNET_WEIGHTS
from tests.training.distillation.runs import LORA, config_of
from tests.training.distillation.students import new_distillation
from tests.training.recipe_runs import batch_of, loss_of, train, write_config


@pytest.mark.parametrize("student", ["full", "lora"])
def test_half_precision_leaves_the_student_its_gradients(
    teacher: Path, dataset: Path, tmp_path: Path, student: str
) -> None:
    """Autocast shares copies of the weights between calls with and without gradients."""
    options = {"student": student, "run": {"mixed_precision": "bf16"}, "target_decay": 0}
    recipe = new_distillation(config_of(teacher, dataset, tmp_path / "run", **options), tmp_path)
    examples = recipe.examples("train", tmp_path / "cache")
    batch = batch_of([examples[row, row] for row in range(8)])
    with torch.autocast("cpu", torch.bfloat16):
        loss = recipe.objective(batch, torch.Generator().manual_seed(0))["loss"]
    loss.backward()
    trained = {n: p for n, p in recipe.objective.student.named_parameters() if p.requires_grad}
    for name, weight in trained.items():
        assert weight.dtype == torch.float32
        assert weight.grad is not None, name
        is_zero = name.endswith("lora_A.default.weight")  # until B is no longer zero
        assert (float(weight.grad.abs().max()) == 0) == is_zero, name


@pytest.mark.parametrize(
    "options",
    [
        {"student": "full", "run": {"mixed_precision": "bf16"}},
        {"student": "full", "target_decay": 0, "guided_share": 0, "data": {"accumulate": 2}},
        {"student": "lora", "lora": LORA | {"dropout": 0.2}},
    ],
    ids=["full in half precision", "full without a target", "lora"],
)
def test_a_run_resumes_exactly(
    random_teacher: Path, dataset: Path, tmp_path: Path, options: dict[str, Any]
) -> None:
    run = {"save_every": 2, "ema_decay": 0.9} | options.get("run", {})
    config = config_of(random_teacher, dataset, tmp_path / "run", **options | {"run": run})
    _, folder = train(config, tmp_path)
    state = load_file(tmp_path / "run/states/step-00000002/model.safetensors")
    parts = {name.partition(".")[0] for name in state}
    has_target = options["student"] == "full" and "target_decay" not in options
    assert parts == ({"student", "target"} if has_target else {"student"})
    expected = load_file(folder / UNET_WEIGHTS)
    shutil.rmtree(tmp_path / "run/states/step-00000004")
    shutil.rmtree(folder)
    train(config, tmp_path)
    found = load_file(folder / UNET_WEIGHTS)
    assert found.keys() == expected.keys()
    for name, weight in expected.items():
        assert torch.equal(weight, found[name]), name


def test_the_target_is_a_moving_average_of_the_student(
    random_teacher: Path, dataset: Path, tmp_path: Path
) -> None:
    """It moves once per step, however many batches a step has."""
    config = config_of(
        random_teacher,
        dataset,
        tmp_path / "run",
        steps=1,
        target_decay=0.75,
        data={"accumulate": 2, "batch_size": 4},
    )
    first = new_distillation(config, tmp_path).objective.student.state_dict()
    recipe, _ = train(config, tmp_path)
    assert isinstance(recipe, DistillationRecipe)
    assert recipe.objective.target is not None
    last = recipe.objective.student.state_dict()
    for name, weight in recipe.objective.target.state_dict().items():
        torch.testing.assert_close(weight, torch.lerp(first[name], last[name], 0.25))
    assert any(not torch.equal(first[name], last[name]) for name in first)


def test_a_run_validates_and_samples(random_teacher: Path, dataset: Path, tmp_path: Path) -> None:
    run = {"validate_every": 4, "sample_every": 4, "validation_batches": 1, "log_every": 2}
    config = config_of(random_teacher, dataset, tmp_path / "run", run=run)
    config["sample"] = {"prompts": ["beat"], "seeds": 3, "steps": 2, "guidance": 7}
    train(config, tmp_path)
    assert (tmp_path / "run/samples/step-00000004.png").is_file()


def test_packed_latents_give_the_same_examples(
    random_teacher: Path, dataset: Path, tmp_path: Path
) -> None:
    vae = new_distillation(config_of(random_teacher, dataset, tmp_path / "a"), tmp_path).vae
    encode_dataset(DatasetFolder(dataset), vae, tmp_path / "packed", levels=16)
    both = [
        new_distillation(config_of(random_teacher, source, tmp_path / "b"), tmp_path).examples(
            "train", tmp_path / "cache"
        )
        for source in (dataset, tmp_path / "packed")
    ]
    for draw in range(24):
        images, latents = (examples[draw, draw] for examples in both)
        assert images["caption"] == latents["caption"]
        torch.testing.assert_close(images["latents"], latents["latents"], atol=0.04, rtol=0.01)


def test_captions_are_embedded_once_as_the_text_encoder_does(
    random_teacher: Path, dataset: Path, tmp_path: Path
) -> None:
    config = config_of(random_teacher, dataset, tmp_path / "run", data={"caption_dropout": 0.25})
    recipe = new_distillation(config, tmp_path)
    own = ("a beat", "a tone", "beat", "beat, steady", "tone", "tone, steady")
    assert recipe.table.captions == ["", *own]
    pipeline = recipe._pipeline(recipe.objective.student, recipe.scheduler)
    for number, caption in enumerate(recipe.table.captions):
        expected = pipeline.embed_text(caption)[0]
        torch.testing.assert_close(recipe.objective.embeddings[number], expected)
    examples = recipe.examples("train", tmp_path / "cache")
    drawn = [int(examples[draw % 24, draw]["caption"]) for draw in range(960)]
    rows = DatasetFolder(dataset).rows("train")
    for draw, number in enumerate(drawn):
        assert number == 0 or recipe.table.captions[number] in rows[draw % 24].all_captions
    assert drawn.count(0) == pytest.approx(240, abs=60)
    assert set(drawn) == set(range(7))


def test_a_data_set_without_captions_can_be_distilled(
    random_teacher: Path, dataset: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(dataset, tmp_path / "silent")
    for split in ("train", "validation"):
        rows = [DatasetRow(row.file_name, "") for row in DatasetFolder(dataset).rows(split)]
        write_metadata(folder, split, rows)
    recipe = new_distillation(config_of(random_teacher, folder, tmp_path / "run"), tmp_path)
    assert recipe.table.captions == [""]
    pipeline = recipe._pipeline(recipe.objective.student, recipe.scheduler)
    torch.testing.assert_close(recipe.objective.embeddings, pipeline.embed_text(""))
    assert np.isfinite(loss_of(recipe, tmp_path))


def test_networks_are_moved_outside_inference_mode(
    random_teacher: Path, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights that are moved within it could not be changed or trained any more."""
    recipe = new_distillation(config_of(random_teacher, dataset, tmp_path / "run"), tmp_path)
    seen = []
    for part in (recipe.vae, recipe.text_encoder):

        def to(*args: Any, move: Any = part.to) -> Any:
            seen.append(torch.is_inference_mode_enabled())
            return move(*args)

        monkeypatch.setattr(part, "to", to)
    recipe.sample()
    assert seen == [False] * 4


def test_the_command_distills_and_refuses_other_tasks(
    random_teacher: Path, dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = config_of(random_teacher, dataset, tmp_path / "run", steps=1)
    path = write_config(config, tmp_path / "config.yaml")
    assert main(["distill", str(path), "--set", "run.steps=2"]) == 0
    assert capsys.readouterr().out == f"Wrote {tmp_path / 'run/checkpoint'}\n"
    assert main(["distill", str(path), "--set", "solver_steps=7"]) == 2
    assert "solver_steps=7 must divide the checkpoint's 1000 timesteps" in capsys.readouterr().err
    other = {name: config[name] for name in ("checkpoint", "output", "data", "run", "optimizer")}
    path = write_config({"task": "fine_tune", **other}, path)
    assert main(["distill", str(path)]) == 2
    line = capsys.readouterr().err
    assert "task='fine_tune', but riffusion distill needs task=distill; run `riffusion tr" in line
    assert line.count("\n") == 1
