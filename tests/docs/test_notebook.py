"""The notebooks run from top to bottom, show images and audio, and are stored without outputs."""

from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from tests.patience import PATIENCE_S

DOCS = Path(__file__).parents[2] / "docs"
MAX_CELL_LINES = 40
FEW_STEPS = {
    "training": {"STEPS = 30": "STEPS = 5"},
    "audio_diffusion": {
        "TRAINING_STEPS = 200": "TRAINING_STEPS = 2",
        "\nSTEPS = 50": "\nSTEPS = 4",
    },
    "editing": {"STEPS = 12": "STEPS = 1"},
}
"""Parameters in each notebook's first cell, and their values here: the networks needn't learn
anything."""


@pytest.fixture(scope="module", params=FEW_STEPS)
def notebook(request: pytest.FixtureRequest) -> Any:
    return nbformat.read(DOCS / f"{request.param}.ipynb", as_version=4)


def code_cells(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_it_is_stored_without_outputs_in_short_explained_cells(notebook: Any) -> None:
    nbformat.validate(notebook)
    for cell in code_cells(notebook):
        assert cell.outputs == []
        assert cell.execution_count is None
        assert len(cell.source.splitlines()) <= MAX_CELL_LINES
    for before, cell in zip(notebook.cells, notebook.cells[1:], strict=False):
        assert "markdown" in (before.cell_type, cell.cell_type)


def test_its_links_lead_somewhere(notebook: Any) -> None:
    text = "".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    links = [part.partition(")")[0] for part in text.split("](")[1:]]
    assert len(links) >= 3
    for link in links:
        assert (DOCS / link).exists(), link


def run(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Any, Path]:
    """Run a notebook with few steps; returns it with its outputs, and the folder that it wrote to.

    A cell that raises fails the run.
    """
    for place in ("TMPDIR", "IPYTHONDIR", "JUPYTER_RUNTIME_DIR"):  # all folders that it writes to
        (tmp_path / place).mkdir()
        monkeypatch.setenv(place, str(tmp_path / place))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    notebook = nbformat.read(DOCS / f"{name}.ipynb", as_version=4)
    first = code_cells(notebook)[0]
    for before, here in FEW_STEPS[name].items():
        assert before in first.source
        first.source = first.source.replace(before, here)
    client = NotebookClient(
        notebook,
        timeout=PATIENCE_S,
        kernel_name="python3",
        resources={"metadata": {"path": str(tmp_path)}},
    )
    client.execute()
    (folder,) = (tmp_path / "TMPDIR").glob("riffusion-*")
    return notebook, folder


def shown(notebook: Any, kind: str) -> list[str]:
    """What the cells show of a media type."""
    return [
        output.data[kind]
        for cell in code_cells(notebook)
        for output in cell.outputs
        if kind in output.get("data", {})
    ]


def check_sounds(notebook: Any, count: int) -> None:
    sounds = shown(notebook, "text/html")
    assert len(sounds) == count
    assert all("<audio" in sound and "base64," in sound for sound in sounds)


def test_training_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notebook, folder = run("training", tmp_path, monkeypatch)
    assert (folder / "runs/unet/checkpoint/model_index.json").is_file()
    assert (folder / "report/report.md").is_file()
    assert len(shown(notebook, "image/png")) == 5
    check_sounds(notebook, 2)


def test_audio_diffusion_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notebook, folder = run("audio_diffusion", tmp_path, monkeypatch)
    assert {path.name for path in folder.glob("*.wav")} == {"new-1.wav", "new-2.wav", "song.wav"}
    assert len(shown(notebook, "image/png")) == 4
    check_sounds(notebook, 6)
    printed = "".join(
        output.text for cell in code_cells(notebook) for output in cell.outputs if "text" in output
    )
    assert f"\n{'=' * 21}{'~' * 22}{'=' * 21}\n" in printed  # what stays and what is new


def test_editing_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notebook, folder = run("editing", tmp_path, monkeypatch)
    written = {path.name for path in folder.glob("*.wav")}
    edits = {"repainted.wav", "restyled.wav", "extended.wav", "loop.wav", "slow.wav"}
    assert written == {"song.wav", *edits}
    check_sounds(notebook, 7)
    assert len(shown(notebook, "image/png")) == 7
    printed = "".join(
        output.text for cell in code_cells(notebook) for output in cell.outputs if "text" in output
    )
    assert "changed from 2.000 to 4.000 s" in printed
