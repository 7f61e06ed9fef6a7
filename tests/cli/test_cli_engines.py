"""`--engine light` on the command line: what it refuses, in one line with the remedy."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Run

ADD_TORCH = "`make setup` in a checkout, or `pip install 'riffusion-truss[torch]'`, adds it"
USE_TORCH = "use --engine torch"


def refused(run: Run, tmp_path: Path, *options: object) -> str:
    result = run("generate", "bells", "-o", tmp_path / "a.mp3", *options)
    assert result.code == 2
    (line,) = result.err.splitlines()
    return line.removeprefix("error: ")


@pytest.fixture
def without_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if torch were not installed, for what looks whether it is."""
    find = importlib.util.find_spec

    def find_other(name: str, package: str | None = None) -> Any:
        return None if name == "torch" else find(name, package)

    monkeypatch.setattr(importlib.util, "find_spec", find_other)


def test_an_unknown_engine_is_named_once(run: Run, tmp_path: Path) -> None:
    assert refused(run, tmp_path, "--engine", "foo") == (
        "Invalid value for '--engine': 'foo' is not one of 'torch', 'light'; "
        "see `riffusion generate --help`"
    )


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (("--lora", "no such file"), "--lora: needs PyTorch"),
        (("--embedding", "no such file"), "--embedding: needs PyTorch"),
        (("--device", "cuda"), "--device: 'cuda' needs PyTorch"),
        (("--scheduler", "euler"), "--scheduler: 'euler' needs PyTorch; choose one of pndm, ddim"),
        (("--checkpoint", "a/b"), "a/b (argument) is no folder here, and onnxruntime can't run"),
    ],
)
def test_what_needs_torch_says_so_before_files_are_read(
    run: Run, tmp_path: Path, options: tuple[str, ...], named: str
) -> None:
    line = refused(run, tmp_path, "--engine", "light", *options)
    assert line.startswith(named)
    assert USE_TORCH in line


@pytest.mark.parametrize("option", ["--lora", "--embedding"])
@pytest.mark.usefixtures("without_torch")
def test_without_torch_the_remedy_is_to_install_it(run: Run, tmp_path: Path, option: str) -> None:
    line = refused(run, tmp_path, option, "no such file")
    assert line == f"{option}: needs PyTorch, which changes weights; {ADD_TORCH}"
    line = refused(run, tmp_path, "--engine", "torch", option, "no such file")
    assert line == f"--engine: 'torch' is not installed; {ADD_TORCH}"


def test_a_folder_without_a_checkpoint_says_what_is_missing(run: Run, tmp_path: Path) -> None:
    assert refused(run, tmp_path, "--engine", "light", "--checkpoint", tmp_path) == (
        f"{tmp_path} (argument) is no checkpoint: it has neither manifest.json nor "
        "model_index.json; name a folder that `riffusion export` wrote"
    )
