"""The README is true: its commands parse, its links lead somewhere, its example runs."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from riffusion.audio import num_samples, read_audio
from riffusion.cli.app import app
from tests.docs.readme import ROOT, TEXT, command_lines, python_blocks
from tests.patience import PATIENCE_S


@pytest.mark.parametrize("arguments", command_lines(), ids=" ".join)
def test_commands_parse(arguments: list[str]) -> None:
    group = typer.main.get_command(app)
    with group.make_context("riffusion", list(arguments)) as context:  # type: ignore[attr-defined]
        name, command, rest = group.resolve_command(context, list(arguments))  # type: ignore[attr-defined]
        command.make_context(name, rest, parent=context)


def test_there_are_commands_and_examples() -> None:
    assert len(command_lines()) >= 6
    assert len(python_blocks()) == 2


@pytest.mark.parametrize(
    "link",
    [link for link in re.findall(r"\]\(([^)#]+)\)", TEXT) if not link.startswith("http")],
)
def test_links_lead_somewhere(link: str) -> None:
    assert (ROOT / link).is_file()


def test_python_example_writes_a_clip(tmp_path: Path) -> None:
    (tmp_path / "data").symlink_to(ROOT / "data")
    """With fewer steps."""
    code = next(block for block in python_blocks() if "RiffusionPipeline" in block)
    assert "num_inference_steps=20" in code
    code = code.replace("num_inference_steps=20", "num_inference_steps=2")
    subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        check=True,
        timeout=PATIENCE_S,
    )
    assert num_samples(read_audio(tmp_path / "clip.wav")) == 512 * 441
