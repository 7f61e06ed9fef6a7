"""`riffusion export` on the command line."""

import sys
from pathlib import Path

import pytest

from riffusion.checkpoint.manifest import PARTS, read_manifest
from tests.cli.conftest import Run, run

__all__ = ["run"]  # a fixture


def test_each_part_is_printed_with_its_difference(run: Run, tiny: Path, tmp_path: Path) -> None:
    result = run("export", tiny, "-o", tmp_path / "out", "--precision", "fp16")
    assert (result.code, result.err) == (0, "")
    *parts, last = result.out.splitlines()
    assert [line.split()[0] for line in parts] == list(PARTS)
    for line in parts:
        assert "largest difference to torch" in line
        assert line.endswith("with the weights before rounding")
    assert last.startswith(f"Wrote {tmp_path / 'out'} (")
    assert last.endswith(" MB of graphs and fp16 weights)")
    assert read_manifest(tmp_path / "out").precision == "fp16"


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], "--output: name the folder to write"),
        (["-o", "out", "--beside"], "cannot be combined with --beside"),
        (["--beside", "--precision", "fp16"], "--precision: 'fp16' cannot be combined with"),
        (
            ["-o", "out", "--precision", "int3"],
            "--precision: 'int3' must be one of fp32, fp16, w8, int8, w8a16",
        ),
        (["-o", "."], "exists and is not empty; choose a new folder"),
    ],
)
def test_wrong_options_say_what_to_change(
    run: Run,
    tiny: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: list[str],
    expected: str,
) -> None:
    (tmp_path / "song.mp3").touch()
    monkeypatch.chdir(tmp_path)
    result = run("export", tiny, *options)
    assert result.code == 2
    (line,) = result.err.splitlines()
    assert expected in line
    assert [path.name for path in tmp_path.iterdir()] == ["song.mp3"]


@pytest.mark.parametrize("module", ["onnx", "onnxruntime"])
def test_the_extra_is_named_where_it_is_missing(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    result = run("export", "-o", tmp_path / "out")
    assert result.code == 2
    assert result.err == (
        f"error: riffusion export needs {module}, which is not installed; install the extra "
        "`export` (pip install 'riffusion-truss[export]')\n"
    )
