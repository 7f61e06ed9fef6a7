"""The notebook runs from top to bottom, shows images and audio, and is stored without outputs."""

import copy
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from tests.patience import PATIENCE_S

NOTEBOOK = Path(__file__).parents[2] / "docs/training.ipynb"
MAX_CELL_LINES = 40
FEW_STEPS = ("STEPS = 30", "STEPS = 5")
"""The first cell's parameter, and its value here: the networks needn't learn anything."""


@pytest.fixture(scope="module")
def notebook() -> Any:
    return nbformat.read(NOTEBOOK, as_version=4)


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
        assert (NOTEBOOK.parent / link).exists(), link


def test_it_runs(notebook: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cell that raises fails the run."""
    for name in ("TMPDIR", "IPYTHONDIR", "JUPYTER_RUNTIME_DIR"):  # all folders that it writes to
        (tmp_path / name).mkdir()
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    notebook = copy.deepcopy(notebook)
    first = code_cells(notebook)[0]
    assert FEW_STEPS[0] in first.source
    first.source = first.source.replace(*FEW_STEPS)
    client = NotebookClient(
        notebook,
        timeout=PATIENCE_S,
        kernel_name="python3",
        resources={"metadata": {"path": str(tmp_path)}},
    )
    client.execute()
    (folder,) = (tmp_path / "TMPDIR").glob("riffusion-*")
    assert (folder / "runs/unet/checkpoint/model_index.json").is_file()
    assert (folder / "report/report.md").is_file()
    shown = [
        kind
        for cell in code_cells(notebook)
        for output in cell.outputs
        for kind in output.get("data", {})
    ]
    assert shown.count("image/png") == 5
    sounds = [
        output.data["text/html"]
        for cell in code_cells(notebook)
        for output in cell.outputs
        if "text/html" in output.get("data", {})
    ]
    assert len(sounds) == 2
    assert all("<audio" in sound and "base64," in sound for sound in sounds)
