"""What exporting writes, for checkpoints of every kind, and that failures leave nothing."""

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from diffusers import DDIMScheduler, HeunDiscreteScheduler, LCMScheduler

from riffusion.checkpoint.loader import load_components
from riffusion.checkpoint.manifest import read_manifest
from riffusion.diffusion import RiffusionPipeline
from riffusion.errors import CheckpointError, InputError
from riffusion.exporting import checking, checkpoint_files, export
from riffusion.exporting.export import export_checkpoint
from riffusion.exporting.parts import Part, Shape
from tests.checkpoint.autoencoder_checkpoints import checkpoint as with_autoencoder
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
from tests.exporting.conftest import EMBEDDED, SMALL
from tests.exporting.exported import (
    GRAPHS,
    files_of,
    full_disk,
    without_graphs,
)
from tests.needs import ROOT

MAX_GRAPH_BYTES = 1_500_000


def test_weights_are_the_checkpoints_files(tiny: Path, exported_tiny: Path) -> None:
    origin, found = files_of(tiny), files_of(exported_tiny)
    added = GRAPHS | {"manifest.json"}
    copied = {name: content for name, content in found.items() if name not in added}
    assert copied == {name: content for name, content in origin.items() if name in copied}
    left_out = origin.keys() - copied.keys() - added
    assert left_out == {"README.md"}
    assert sum(len(found[name]) for name in GRAPHS) < MAX_GRAPH_BYTES


def test_the_embedded_checkpoint_has_the_graphs_of_its_weights() -> None:
    manifest = read_manifest(EMBEDDED)  # checks hashes; tests of parts compare it with torch
    components = load_components(str(EMBEDDED), device="cpu")
    assert manifest.shape == Shape.of(components).fixed
    assert manifest.other_files == checkpoint_files.others_in(EMBEDDED)
    assert (manifest.source, manifest.precision) == ("demo-checkpoint", "fp16")
    stored = checkpoint_files.stored_in(components)
    assert stored is not None
    files = {weight.file for weights in stored.stored.values() for weight in weights.values()}
    assert files | GRAPHS == set(manifest.network_files)


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


def test_a_difference_to_torch_leaves_nothing(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checking, "TOLERANCE", 0.0)
    with pytest.raises(CheckpointError, match=r"^text_encoder: .* differ from torch's by "):
        export_checkpoint(str(tiny), tmp_path / "out", "fp32", without_graphs)
    assert list(tmp_path.iterdir()) == []


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


def test_a_full_disk_leaves_nothing(tiny: Path, tmp_path: Path) -> None:
    with (
        full_disk() as fill,
        pytest.raises(InputError, match="File too large.*make room") as caught,
    ):
        export_checkpoint(str(tiny), tmp_path / "out", "fp32", lambda _: fill())
    assert caught.value.field == "output"
    assert list(tmp_path.iterdir()) == []


def test_an_output_that_is_in_use_is_refused(tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "song.mp3").write_bytes(b"mine")
    with pytest.raises(InputError, match="exists and is not empty"):
        export_checkpoint(str(tiny), tmp_path, "fp32", without_graphs)
    with pytest.raises(InputError, match="'int3' must be one of fp32, fp16, w8, int8"):
        export_checkpoint(str(tiny), tmp_path / "out", "int3", without_graphs)
    assert files_of(tmp_path) == {"song.mp3": b"mine"}


def test_weights_too_large_for_half_precision_are_refused(tiny: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny, tmp_path / "checkpoint")
    change_weights(folder / UNET_WEIGHTS, lambda it: it["conv_in.bias"].fill_(1e6))
    with pytest.raises(CheckpointError, match=r"unet has weights .* use --precision fp32"):
        export_checkpoint(str(folder), tmp_path / "out", "fp16", without_graphs)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]


def test_nothing_names_a_folder_of_this_machine(tiny: Path, exported_half: Path) -> None:
    assert read_manifest(exported_half).source == tiny.name
    for content in files_of(exported_half).values():
        assert str(ROOT).encode() not in content
        assert str(tiny.parent).encode() not in content


@pytest.mark.parametrize(
    ("scheduler", "warned"),
    [
        (HeunDiscreteScheduler(), True),
        (DDIMScheduler(clip_sample=False), False),
        (LCMScheduler(), False),
    ],
)
def test_a_sampler_that_the_light_engine_lacks_is_named(
    scheduler: Any, warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    export.warn_of_sampler(scheduler)
    assert [record.levelname for record in caplog.records] == ["WARNING"] * warned
    assert ("'HeunDiscreteScheduler'" in caplog.text) == warned


def test_each_output_has_its_own_tolerance() -> None:
    latents = np.linspace(-100, 100, 12, dtype=np.float32)
    deviation = np.full(12, 1e-2, np.float32)
    runs = [(latents, deviation), (latents / 2, deviation)]
    exact = checking.compare(runs, runs)
    assert (exact.difference, exact.is_within) == (0, True)
    wrong = [(latents, deviation), (latents / 2, deviation + np.float32(1e-4))]
    found = checking.compare(wrong, runs)  # 1 %, and far below what the latents may differ by
    assert found.difference == pytest.approx(1e-4, rel=1e-3)
    assert found.tolerance == pytest.approx(checking.TOLERANCE * 1e-2)
    assert not found.is_within
    with pytest.raises(CheckpointError, match="vae_encoder: .* differ from torch's by"):
        checking.check(found, part_named("vae_encoder"))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_are_a_difference(value: float) -> None:
    right = [(np.ones(3, np.float32), np.ones(3, np.float32))]
    wrong = [(np.ones(3, np.float32), np.array([1, value, 1], np.float32))]
    assert not checking.compare(wrong, right).is_within
    zeros = [(np.zeros(3, np.float32),)]
    assert checking.compare(zeros, zeros).is_within
    assert not checking.compare([(np.full(3, 1e-9, np.float32),)], zeros).is_within


def part_named(name: str) -> Part:
    return Part(name, "", torch.nn.Identity(), {}, {}, lambda *_: {})
