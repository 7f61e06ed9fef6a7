"""A data set of striped images, a tiny teacher, and a student that was trained by it."""

from pathlib import Path
from typing import Any

import pytest

from tests.datasets.striped_dataset import make_striped_dataset
from tests.training.distillation.runs import SIDE, config_of, write_teacher
from tests.training.distillation.students import new_distillation
from tests.training.recipe_runs import QUIET, train


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_striped_dataset(tmp_path_factory.mktemp("data") / "stripes", side=SIDE)


@pytest.fixture(scope="session")
def random_teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_teacher(tmp_path_factory.mktemp("random") / "tiny")


@pytest.fixture(scope="session")
def teacher(random_teacher: Path, dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny checkpoint that was trained for some steps."""
    folder = tmp_path_factory.mktemp("teacher")
    config = {
        "task": "fine_tune",
        "checkpoint": str(random_teacher),
        "output": str(folder / "run"),
        "data": {"dataset": str(dataset), "batch_size": 8, "circular_shifts": 4},
        "optimizer": {"learning_rate": 3e-3, "warmup_steps": 5, "weight_decay": 0.0},
        "run": QUIET | {"steps": 80},
    }
    return train(config, folder)[1]


@pytest.fixture(scope="session")
def full_run(teacher: Path, dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """(recipe before training, recipe after training, folder of the run)."""
    folder = tmp_path_factory.mktemp("full")
    config = config_of(teacher, dataset, folder / "run", steps=80)
    before = new_distillation(config, folder)
    recipe, _ = train(config, folder)
    return before, recipe, folder / "run"
