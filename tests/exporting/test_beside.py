"""Graphs in a checkpoint's own folder: all are replaced together, or nothing changes."""

import errno
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

from riffusion.checkpoint.manifest import Manifest, read_manifest
from riffusion.diffusion import RiffusionPipeline
from riffusion.errors import CheckpointError, InputError
from riffusion.exporting import checking, export, graphs
from riffusion.exporting.export import export_beside
from riffusion.exporting.graphs import ExportedGraph
from tests.checkpoint.checkpoints import (
    UNET_WEIGHTS,
    TinyModel,
    change_weights,
    write_folder,
    write_old_folder,
    write_single_file,
)
from tests.exporting.conftest import SMALL
from tests.exporting.exported import (
    DISK_BYTES,
    GRAPHS,
    files_of,
    full_disk,
    run_part,
    without_graphs,
)

TEXT_WEIGHTS = "text_encoder/model.safetensors"
POSITIONS = "text_model.embeddings.position_ids"


class Exported(NamedTuple):
    """A checkpoint before and after graphs came beside it, and what exporting reported."""

    checkpoint: Path
    folder: Path
    manifest: Manifest
    graphs: list[ExportedGraph]


@pytest.fixture(scope="module")
def exported(model: TinyModel, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    parent = tmp_path_factory.mktemp("beside")
    checkpoint = write_folder(model, parent / "checkpoint")
    SMALL.save(checkpoint)
    folder = shutil.copytree(checkpoint, parent / "exported")
    found: list[ExportedGraph] = []
    manifest, where = export_beside(str(folder), found.append)
    assert where == folder
    return Exported(checkpoint, folder, manifest, found)


@pytest.fixture(params=["first", "again"])
def folder(request: pytest.FixtureRequest, exported: Exported, tmp_path: Path) -> Path:
    """A checkpoint without graphs, and one with earlier ones."""
    if request.param == "first":
        return shutil.copytree(exported.checkpoint, tmp_path / "checkpoint")
    folder = shutil.copytree(exported.folder, tmp_path / "checkpoint")
    for name in GRAPHS:
        (folder / name).write_bytes(b"as an earlier version wrote it")
    return folder


@pytest.fixture
def ready_graphs(exported: Exported, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tracing and comparing, done once for all tests of writing."""

    def ready(*_: object) -> list[ExportedGraph]:
        on_graph = _[-1]
        assert callable(on_graph)
        for graph in exported.graphs:
            on_graph(graph)
        return exported.graphs

    monkeypatch.setattr(export, "checked_graphs", ready)


def test_graphs_beside_a_checkpoint(exported: Exported) -> None:
    before, after = files_of(exported.checkpoint), files_of(exported.folder)
    assert after.keys() - before.keys() == GRAPHS | {"manifest.json"}
    assert {name: after[name] for name in before} == before
    assert read_manifest(exported.folder) == exported.manifest
    assert {graph.file for graph in exported.graphs} == GRAPHS
    ids = torch.zeros(1, 77, dtype=torch.long)
    found = run_part(exported.folder, "text_encoder", input_ids=ids)["embeddings"]
    assert found.shape == (1, 77, 64)
    RiffusionPipeline.from_pretrained(exported.folder, device="cpu")


@pytest.mark.usefixtures("ready_graphs")
def test_earlier_graphs_are_replaced(folder: Path, exported: Exported) -> None:
    export_beside(str(folder), without_graphs)
    expected = files_of(exported.folder)
    found = files_of(folder)
    assert found.pop("manifest.json") != expected.pop("manifest.json")  # has the folder's name
    assert found == expected
    assert read_manifest(folder).files == exported.manifest.files


def test_older_files_may_hold_the_numbers_of_positions(exported: Exported, tmp_path: Path) -> None:
    folder = shutil.copytree(exported.checkpoint, tmp_path / "checkpoint")
    numbers = torch.arange(77)[None]
    change_weights(folder / TEXT_WEIGHTS, lambda it: it.update({POSITIONS: numbers}))
    manifest, _ = export_beside(str(folder), without_graphs)
    assert read_manifest(folder) == manifest
    assert manifest.precision == "fp32"
    pipeline = RiffusionPipeline.from_pretrained(folder, device="cpu")
    ids = torch.tensor([[*range(70), *[1] * 7]])
    with torch.inference_mode():
        expected = pipeline.text_encoder(ids)[0]
    found = run_part(folder, "text_encoder", input_ids=ids)["embeddings"]
    assert torch.allclose(found, expected, atol=1e-4)


def test_weights_have_to_be_safetensors_of_one_type(
    exported: Exported, model: TinyModel, tmp_path: Path
) -> None:
    folder = shutil.copytree(exported.checkpoint, tmp_path / "mixed")
    old_folder = write_old_folder(model, tmp_path / "old")
    change_weights(
        folder / UNET_WEIGHTS, lambda it: it.update({"conv_in.bias": it["conv_in.bias"].half()})
    )
    for source in (old_folder, folder):
        before = files_of(source)
        with pytest.raises(CheckpointError, match=r"of one type, .* by -o$"):
            export_beside(str(source), without_graphs)
        assert files_of(source) == before
    file = write_single_file(model, tmp_path / "one" / "model.safetensors")
    with pytest.raises(InputError, match="give an output folder by -o"):
        export_beside(str(file), without_graphs)


@pytest.mark.usefixtures("ready_graphs")
def test_a_full_disk_changes_nothing(folder: Path, exported: Exported) -> None:
    assert len(exported.graphs[0].content) < DISK_BYTES < len(exported.graphs[1].content)
    before = files_of(folder)
    with full_disk() as fill, pytest.raises(InputError) as caught:
        export_beside(str(folder), lambda _: fill())
    assert str(caught.value) == (
        f"beside: {str(folder)!r} cannot be written (File too large); make room there, or export "
        "to another one, by -o"
    )
    assert files_of(folder) == before
    assert not list(folder.glob(".*"))
    export_beside(str(folder), without_graphs)
    read_manifest(folder)


@pytest.mark.usefixtures("ready_graphs")
def test_ctrl_c_changes_nothing(folder: Path) -> None:
    def interrupt(graph: ExportedGraph) -> None:
        if graph.name == "vae_encoder":
            raise KeyboardInterrupt

    before = files_of(folder)
    with pytest.raises(KeyboardInterrupt):
        export_beside(str(folder), interrupt)
    assert files_of(folder) == before
    assert not list(folder.glob(".*"))


def test_a_difference_to_torch_changes_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = files_of(folder)
    monkeypatch.setattr(checking, "TOLERANCE", 0.0)
    with pytest.raises(CheckpointError, match="differ from torch's by"):
        export_beside(str(folder), without_graphs)
    assert files_of(folder) == before


def test_a_folder_that_cannot_be_written_is_refused_before_the_work(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(Path, "mkdir", refuse)
    monkeypatch.setattr(graphs, "trace", lambda *_: pytest.fail("the work began"))
    with pytest.raises(InputError, match=r"^beside: .* cannot be written \(Read-only file sys"):
        export_beside(str(folder), without_graphs)
