"""What exporting writes, for checkpoints of every kind, and that failures leave nothing."""

import errno
import json
import re
import shutil
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch

from riffusion.checkpoint.loader import load_components
from riffusion.checkpoint.manifest import read_manifest
from riffusion.diffusion import RiffusionPipeline
from riffusion.errors import CheckpointError, InputError
from riffusion.exporting import checking, export
from riffusion.exporting.export import ExportedGraph, export_beside, export_checkpoint
from tests.checkpoint.checkpoints import (
    UNET_WEIGHTS,
    VAE_WEIGHTS,
    TinyModel,
    change_weights,
    shard,
    write_folder,
    write_old_folder,
    write_single_file,
)
from tests.checkpoint.test_autoencoder_classes import checkpoint as with_autoencoder
from tests.exporting.conftest import EMBEDDED, SMALL
from tests.exporting.exported import files_of, run_part, without_graphs
from tests.needs import ROOT

MAX_GRAPH_BYTES = 1_500_000
GRAPHS = {"text_encoder.onnx", "unet.onnx", "vae_encoder.onnx", "vae_decoder.onnx"}


def test_weights_are_the_checkpoints_files(exported_demo: Path) -> None:
    origin, found = files_of(EMBEDDED), files_of(exported_demo)
    added = GRAPHS | {"manifest.json"}
    copied = {name: content for name, content in found.items() if name not in added}
    assert copied == {name: content for name, content in origin.items() if name in copied}
    left_out = origin.keys() - copied.keys() - added
    assert left_out == {"README.md"}
    assert sum(len(found[name]) for name in GRAPHS) < MAX_GRAPH_BYTES


def test_the_embedded_checkpoint_has_the_graphs_of_its_weights(exported_demo: Path) -> None:
    embedded, again = read_manifest(EMBEDDED), read_manifest(exported_demo)
    assert embedded.shape == again.shape
    assert embedded.other_files == again.other_files
    weights = {name for part in again.parts.values() for name in part.weights}
    assert {name: embedded.files[name] for name in weights} == {
        name: again.files[name] for name in weights
    }


def test_torch_loads_an_exported_folder(tiny: Path, exported_half: Path) -> None:
    before, after = (load_components(str(path), device="cpu") for path in (tiny, exported_half))
    for part in ("unet", "vae", "text_encoder"):
        own, other = (getattr(it, part).state_dict() for it in (before, after))
        assert own.keys() == other.keys()
        assert all(torch.equal(own[name].half().float(), other[name]) for name in own)
    assert after.spectrogram_params == SMALL
    assert after.distillation == before.distillation
    manifest = read_manifest(exported_half)
    assert manifest.precision == "fp16"
    for part in manifest.parts.values():
        assert part.difference <= part.tolerance
        assert part.rounding is not None
        assert part.rounding > part.difference


def test_weights_are_in_the_precision_asked_for(exported_tiny: Path, exported_half: Path) -> None:
    kinds = {exported_tiny: onnx.TensorProto.FLOAT, exported_half: onnx.TensorProto.FLOAT16}
    for folder, kind in kinds.items():
        unet = onnx.load(folder / "unet.onnx", load_external_data=False)
        weights = [tensor for tensor in unet.graph.initializer if tensor.external_data]
        assert {tensor.data_type for tensor in weights} == {kind}
    full, half = ((folder / UNET_WEIGHTS).stat().st_size for folder in kinds)
    assert half == pytest.approx(full / 2, rel=0.05)


def _old_names(folder: Path) -> None:
    """Rename the VAE's attention as diffusers before 0.12 did."""

    def rename(tensors: dict[str, torch.Tensor]) -> None:
        for name in list(tensors):
            new = name.replace(".to_q.", ".query.").replace(".to_out.0.", ".proj_attn.")
            tensors[new] = tensors.pop(name)

    change_weights(folder / VAE_WEIGHTS, rename)


@pytest.mark.parametrize("kind", ["shards and old names", "half variant", "pickles", "single file"])
def test_every_kind_of_checkpoint_is_exported(kind: str, model: TinyModel, tmp_path: Path) -> None:
    folder = tmp_path / "checkpoint"
    source = folder
    if kind == "pickles":
        write_old_folder(model, folder)
    elif kind == "single file":
        source = write_single_file(model, folder / "model.safetensors")
    else:
        write_folder(model, folder, variant="fp16" if kind == "half variant" else None)
    if kind == "shards and old names":
        shard(folder / UNET_WEIGHTS)
        _old_names(folder)
    SMALL.save(folder)
    precision = "fp16" if kind == "half variant" else "fp32"
    out = tmp_path / "out"
    manifest = export_checkpoint(str(source), out, precision, without_graphs)
    assert manifest == read_manifest(out)
    assert manifest.source == source.name
    assert all(part.rounding is None for part in manifest.parts.values())
    assert (out / "tokenizer/tokenizer.json").is_file()
    assert "spectrogram_params.json" in manifest.other_files
    RiffusionPipeline.from_pretrained(out, device="cpu")


@pytest.mark.parametrize("name", ["AutoencoderTiny", "VQModel"])
def test_every_autoencoder_is_exported(name: str, tmp_path: Path) -> None:
    folder = with_autoencoder(name, tmp_path / "checkpoint")
    SMALL.save(folder)
    export_checkpoint(str(folder), tmp_path / "out", "fp32", without_graphs)


def test_seed_images_are_copied(tiny: Path, exported_tiny: Path, exported_half: Path) -> None:
    for folder in (exported_tiny, exported_half):
        copied = files_of(folder / "seed_images")
        assert copied == files_of(tiny / "seed_images")
        assert "seed_images/og_beat.png" in read_manifest(folder).other_files


def test_graphs_beside_a_checkpoint(model: TinyModel, tmp_path: Path) -> None:
    folder = write_folder(model, tmp_path / "checkpoint")
    SMALL.save(folder)
    before = files_of(folder)
    reported: list[ExportedGraph] = []
    manifest, where = export_beside(str(folder), reported.append)
    assert where == folder
    after = files_of(folder)
    assert after.keys() - before.keys() == GRAPHS | {"manifest.json"}
    assert {name: after[name] for name in before} == before
    assert read_manifest(folder) == manifest
    assert {graph.file for graph in reported} == GRAPHS
    ids = torch.zeros(1, 77, dtype=torch.long)
    assert run_part(folder, "text_encoder", input_ids=ids)["embeddings"].shape == (1, 77, 64)
    RiffusionPipeline.from_pretrained(folder, device="cpu")


def test_beside_needs_safetensors_of_one_type(model: TinyModel, tmp_path: Path) -> None:
    old_folder = write_old_folder(model, tmp_path / "old")
    folder = write_folder(model, tmp_path / "mixed")
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


def test_a_difference_to_torch_leaves_nothing(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checking, "TOLERANCE", 0.0)
    with pytest.raises(CheckpointError, match=r"^text_encoder: .* differ from torch's by "):
        export_checkpoint(str(tiny), tmp_path / "out", "fp32", without_graphs)
    assert list(tmp_path.iterdir()) == []
    before = files_of(tiny)
    with pytest.raises(CheckpointError):
        export_beside(str(tiny), without_graphs)
    assert files_of(tiny) == before


class _Unknown(torch.nn.Module):
    """A layer with an operator that ONNX lacks."""

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return torch.linalg.qr(values)[0]


def test_a_layer_that_onnx_lacks_names_the_part(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def changed(*arguments: Any, **options: Any) -> Any:
        components = load_components(*arguments, **options)
        components.unet.conv_act = _Unknown()
        return components

    monkeypatch.setattr(export, "load_components", changed)
    with pytest.raises(CheckpointError) as refusal:
        export_checkpoint(str(tiny), tmp_path / "out", "fp32", without_graphs)
    message = str(refusal.value)
    assert re.match(r"unet: its UNet2DConditionModel has a layer that ONNX .*linalg_qr", message)
    assert message.endswith("use the checkpoint with torch, without exporting it")
    assert "\n" not in message
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_nothing(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = files_of(tiny)
    graph = ExportedGraph("unet", b"content", (), checking.Comparison(0, 1), None)
    monkeypatch.setattr(export, "_graphs", lambda *_: [graph])

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(export, "describe_file", full)
    with pytest.raises(InputError, match=r"No space left on device.*make room there"):
        export_checkpoint(str(tiny), tmp_path / "out", "fp32", without_graphs)
    with pytest.raises(OSError, match="No space left"):
        export_beside(str(tiny), without_graphs)
    assert files_of(tiny) == before
    assert list(tmp_path.iterdir()) == []


def test_an_output_that_is_in_use_is_refused(tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "song.mp3").write_bytes(b"mine")
    with pytest.raises(InputError, match="exists and is not empty"):
        export_checkpoint(str(tiny), tmp_path, "fp32", without_graphs)
    with pytest.raises(InputError, match="'int3' must be one of fp32, fp16, w8"):
        export_checkpoint(str(tiny), tmp_path / "out", "int3", without_graphs)
    assert files_of(tmp_path) == {"song.mp3": b"mine"}


def test_weights_too_large_for_half_precision_are_refused(tiny: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny, tmp_path / "checkpoint")
    change_weights(folder / UNET_WEIGHTS, lambda it: it["conv_in.bias"].fill_(1e6))
    with pytest.raises(CheckpointError, match=r"unet has weights .* use --precision fp32"):
        export_checkpoint(str(folder), tmp_path / "out", "fp16", without_graphs)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]


def test_the_manifest_names_no_folder_of_this_machine(exported_demo: Path) -> None:
    text = (exported_demo / "manifest.json").read_text()
    assert json.loads(text)["source"] == "demo-checkpoint"
    assert str(ROOT) not in text
    for name in GRAPHS:
        assert str(ROOT).encode() not in (exported_demo / name).read_bytes()
