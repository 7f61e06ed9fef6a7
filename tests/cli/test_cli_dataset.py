"""dataset synthesize: where its corpus is found, and what it says where there is none."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from corpora.general_midi.sounds import SOUNDS
from riffusion.datasets.folder import DatasetFolder
from tests.cli.conftest import Run
from tests.corpora.sine_soundfont import write_sine_soundfont
from tests.needs import FLUIDSYNTH, need
from tests.patience import PATIENCE_S

REPOSITORY = Path(__file__).parents[2]
FLUTE_PROGRAM = 73


def _synthesize_in(directory: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run the command in a directory, with nothing but `packages/` on the import path."""
    return subprocess.run(
        [sys.executable, "-m", "riffusion", "dataset", "synthesize", *map(str, arguments)],
        cwd=directory,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY / "packages"), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )


def test_without_a_clone_of_the_repository_it_says_what_to_install(
    tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("riffusion.cli.dataset_synthesize.bundle_roots", lambda: [tmp_path])
    result = run("dataset", "synthesize", tmp_path / "new")
    assert result.code == 2
    (line,) = result.err.splitlines()
    assert line.startswith("error: ")
    assert "clone the repository, install it with `make setup`" in line
    assert not (tmp_path / "new").exists()


def test_it_works_in_any_directory(tmp_path: Path) -> None:
    """Its worker processes, which import the corpus, too, are no exception."""
    need(FLUIDSYNTH)
    write_sine_soundfont(tmp_path / "sine.sf2", [(0, FLUTE_PROGRAM)])
    done = _synthesize_in(
        tmp_path, "new", "--sounds", "flute", "--clips-per-sound", 2, "--no-scores",
        "--soundfont", "sine.sf2", "--processes", 2,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert [row.label for row in DatasetFolder(tmp_path / "new").rows("train")] == ["flute"]


def test_an_unknown_sound_is_answered_with_the_names_of_all_sounds(tmp_path: Path) -> None:
    done = _synthesize_in(tmp_path, "new", "--sounds", "polka", "--no-scores")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: --sounds: 'polka' ")
    assert set(line.partition("choose from ")[2].split(", ")) == set(SOUNDS)
