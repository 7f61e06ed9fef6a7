"""Tiny checkpoints that the tests load, and damage."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from .checkpoints import (
    TinyModel,
    tiny_model,
    write_folder,
    write_old_folder,
)


@pytest.fixture(scope="session")
def model() -> TinyModel:
    return tiny_model()


@pytest.fixture(scope="session")
def pristine(model: TinyModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(model, tmp_path_factory.mktemp("pristine"))


@pytest.fixture(scope="session")
def pristine_old(model: TinyModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_old_folder(model, tmp_path_factory.mktemp("pristine") / "old")


@pytest.fixture
def folder(pristine: Path, tmp_path: Path) -> Path:
    """A checkpoint of today's format that a test may damage."""
    return shutil.copytree(pristine, tmp_path / "checkpoint")


@pytest.fixture
def old_folder(pristine_old: Path, tmp_path: Path) -> Path:
    """A checkpoint of the old format that a test may damage."""
    return shutil.copytree(pristine_old, tmp_path / "checkpoint")
