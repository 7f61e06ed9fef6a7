"""Manifests of exported folders: damage is found, and named in one line with the remedy."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from riffusion.checkpoint.files import SCHEDULER_NAME
from riffusion.checkpoint.manifest import is_exported, read_manifest
from riffusion.errors import CheckpointError

Change = Callable[[dict[str, Any]], object]


@pytest.fixture
def folder(exported_tiny: Path, tmp_path: Path) -> Path:
    """An exported folder that a test may damage."""
    return shutil.copytree(exported_tiny, tmp_path / "exported")


def refused(folder: Path, *, hashes: bool = True) -> str:
    with pytest.raises(CheckpointError) as refusal:
        read_manifest(folder, hashes=hashes)
    message = str(refusal.value)
    assert "\n" not in message
    assert str(folder) in message
    assert "riffusion export" in message or "update riffusion-truss" in message
    return message


def change(folder: Path, edit: Change) -> None:
    path = folder / "manifest.json"
    values = json.loads(path.read_text())
    edit(values)
    path.write_text(json.dumps(values))


def test_a_whole_folder_is_read(folder: Path) -> None:
    manifest = read_manifest(folder)
    assert is_exported(folder)
    assert manifest.shape.tokens == 77
    assert manifest.shape.guidance_width == 8
    assert manifest.graph_path(folder, "unet") == folder / "unet.onnx"
    assert manifest.to_json() == (folder / "manifest.json").read_bytes()
    assert manifest.network_bytes == sum(
        path.stat().st_size for end in ("onnx", "safetensors") for path in folder.rglob(f"*.{end}")
    )


def test_a_folder_without_manifest_is_no_export(folder: Path) -> None:
    (folder / "manifest.json").unlink()
    assert not is_exported(folder)
    assert "no exported checkpoint" in refused(folder)


@pytest.mark.parametrize(
    "name",
    ["unet.onnx", "vae/diffusion_pytorch_model.safetensors", "tokenizer/tokenizer.json"],
)
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    assert f"{name} is missing" in refused(folder, hashes=False)


def test_a_file_that_broke_off_is_found_by_its_size(folder: Path) -> None:
    path = folder / "vae_decoder.onnx"
    content = path.read_bytes()
    path.write_bytes(content[:-1])
    message = refused(folder, hashes=False)
    assert f"vae_decoder.onnx has {len(content) - 1} bytes, not {len(content)}" in message


def test_another_content_is_found_by_its_hash(folder: Path) -> None:
    for name in read_manifest(folder).files:
        path = folder / name
        content = path.read_bytes()
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        read_manifest(folder, hashes=False)
        assert f"{path} is not the file that was exported (SHA-256)" in refused(folder)
        path.write_bytes(content)
    read_manifest(folder)


def test_a_file_that_decides_what_a_seed_means_is_checked(folder: Path) -> None:
    names = read_manifest(folder).files
    assert {SCHEDULER_NAME, "spectrogram_params.json"} <= set(names)
    assert {"tokenizer/tokenizer.json", "model_index.json", "seed_images/og_beat.png"} <= set(names)


@pytest.mark.parametrize(
    ("edit", "expected"),
    [
        (lambda it: it.update(format=2), "format=2, newer than 1"),
        (lambda it: it.update(format="1"), "format='1', not 1"),
        (lambda it: it.pop("format"), "format=None, not 1"),
        (lambda it: it["parts"].pop("vae_encoder"), "there is no part vae_encoder"),
        (lambda it: it["files"].pop("unet.onnx"), "unet.onnx has no size and hash"),
        (lambda it: it["files"].pop(SCHEDULER_NAME), "scheduler_config.json has no size and hash"),
        (lambda it: it["files"]["unet.onnx"].update(sha256="abc"), "files.unet.onnx.sha256"),
        (lambda it: it["files"]["unet.onnx"].update(bytes="9"), "files.unet.onnx.bytes"),
        (lambda it: it["parts"]["unet"].update(graph="../unet.onnx"), "must be below the folder"),
        (lambda it: it["parts"]["unet"].update(weights=["/etc/hosts"]), "must be below the folder"),
        (lambda it: it.update(other_files=["C:\\x"]), "must be below the folder"),
        (lambda it: it["shape"].update(tokens=0), "shape.tokens"),
    ],
)
def test_a_manifest_that_is_wrong_says_where(folder: Path, edit: Change, expected: str) -> None:
    change(folder, edit)
    assert expected in refused(folder)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe\x00", b"[1]", b"[" * 100_000])
def test_a_damaged_manifest_is_refused(folder: Path, content: bytes) -> None:
    (folder / "manifest.json").write_bytes(content)
    refused(folder)


def test_fields_of_later_versions_are_passed_over(folder: Path) -> None:
    before = read_manifest(folder)
    change(folder, lambda it: it.update(later=1))
    assert read_manifest(folder) == before


def test_manifests_are_read_without_torch(folder: Path) -> None:
    code = (
        "import sys\n"
        "for name in ('torch', 'onnx', 'onnxruntime', 'transformers', 'diffusers'):\n"
        "    sys.modules[name] = None\n"
        "from pathlib import Path\n"
        "from riffusion.checkpoint.manifest import read_manifest\n"
        "print(read_manifest(Path(sys.argv[1])).precision)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, folder], capture_output=True, text=True, check=True
    )
    assert done.stdout == "fp32\n"
