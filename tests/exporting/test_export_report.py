"""The table of `riffusion export --report`: each part and precision, torch's figures beside."""

import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from riffusion.checkpoint.manifest import PARTS, Manifest, read_manifest
from riffusion.errors import CheckpointError, GenerationError
from riffusion.exporting import measuring
from riffusion.exporting.report import report
from riffusion.exporting.rounding import CALIBRATED
from tests.cli.conftest import Run, run

__all__ = ["run"]  # a fixture

ROW = re.compile(r"\| (\w+) \| (\w+) \| ([\d.]+) \| ([\d.]+) \| ([\d,]+|–) \| ([\d.]+) \| (.*) \|")


def test_each_part_has_a_row(
    tiny: Path, exported_tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measuring, "MAX_CALLS", 1)
    lines = report(str(tiny), {exported_tiny: read_manifest(exported_tiny)})
    rows = [match.groups() for match in map(ROW.fullmatch, lines) if match]
    assert [row[0] for row in rows] == list(PARTS)
    assert {row[1] for row in rows} == {"fp32"}
    assert all(float(row[3]) > 0 and float(row[5]) > 0 for row in rows)
    assert rows[1][6] == "91.3 (880)"
    # Both halves of the autoencoder together use its whole file.
    halves = sum(float(row[2]) for row in rows if row[0].startswith("vae"))
    files = ("vae/diffusion_pytorch_model.safetensors", "vae_encoder.onnx", "vae_decoder.onnx")
    whole = sum((exported_tiny / name).stat().st_size for name in files)
    assert halves == pytest.approx(whole / 1e6, abs=0.15)


def test_parts_are_measured_without_torch(exported_tiny: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(exported_tiny, tmp_path / "exported")
    (folder / "unet.onnx").rename(folder / "another.onnx")  # where a graph is says the manifest
    manifest = folder / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"unet.onnx"', '"another.onnx"'))
    code = (
        "import sys\n"
        "for name in ('torch', 'onnx', 'transformers', 'diffusers'):\n"
        "    sys.modules[name] = None\n"
        "from pathlib import Path\n"
        "from riffusion.exporting import measuring\n"
        "measuring.MAX_CALLS = 1\n"
        "sizes = dict(rows=1, tokens=77, height=4, width=8, pixels_per_latent=2, threads=1)\n"
        f"print(sorted(measuring.measure(Path(sys.argv[1]), sizes, {PARTS})))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, folder], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == str(sorted([*PARTS, "peak_mb"]))


def test_a_process_that_fails_is_one_line(tiny: Path, exported_tiny: Path, tmp_path: Path) -> None:
    manifest = read_manifest(exported_tiny)
    with pytest.raises(GenerationError, match="measuring text_encoder failed") as failure:
        report(str(tiny), {tmp_path: manifest})
    assert "\n" not in str(failure.value)


def test_the_command_reports_without_writing(
    run: Run, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def reported(source: str, exported: Mapping[Path, Manifest]) -> list[str]:
        ((folder, manifest),) = exported.items()
        assert read_manifest(folder) == manifest
        return ["a table", f"of {Path(source).name} in {manifest.precision}"]

    monkeypatch.setattr("riffusion.exporting.report.report", reported)
    monkeypatch.chdir(tmp_path)
    result = run("export", tiny, "--report", "--precision", "fp32")
    assert (result.code, result.out) == (0, "a table\nof checkpoint in fp32\n")
    assert list(tmp_path.iterdir()) == []


def test_precisions_that_a_checkpoint_does_not_allow_are_left_out(
    run: Run, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def exported(source: str, folder: Path, precision: str, *_: object, **__: object) -> str:
        if precision in CALIBRATED:
            raise CheckpointError("unet is too large; use --precision w8")
        return precision

    def reported(_: str, found: Mapping[Path, str]) -> list[str]:
        return [", ".join(found.values())]

    monkeypatch.setattr("riffusion.exporting.export.export_checkpoint", exported)
    monkeypatch.setattr("riffusion.exporting.report.report", reported)
    result = run("export", tiny, "--report")
    assert (result.code, result.out) == (0, "fp32, fp16, w8\n")
    assert result.err.splitlines() == [
        f"{name} is left out: unet is too large; use --precision w8" for name in CALIBRATED
    ]
    result = run("export", tiny, "--report", "--precision", "int8")
    assert (result.code, result.out) == (2, "")
