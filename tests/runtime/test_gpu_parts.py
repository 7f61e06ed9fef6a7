"""scripts/gpu_parts.py: parts under a limit, and what joining them checks."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "gpu_parts.py"
MIB = 2**20
LIMIT_MIB = 6
WHEELS, LATENTS = "build/wheels", "runs/demo/latents"
SIZES_MIB = {
    f"{WHEELS}/a.whl": 0.9,
    f"{WHEELS}/b.whl": 0.1,
    f"{LATENTS}/README.md": 0.01,
    f"{LATENTS}/train/metadata.jsonl": 0.5,
    f"{LATENTS}/train/latents-00001.safetensors": 1.2,
    f"{LATENTS}/train/latents-00002.safetensors": 1.2,
    f"{LATENTS}/train/latents-00003.safetensors": 1.1,
    f"{LATENTS}/validation/latents.safetensors": 0.7,
}
TREE_MIB = 2.5


def write(path: Path, size_mib: float) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    seed = sum(path.name.encode())
    path.write_bytes(np.random.default_rng(seed).bytes(int(size_mib * MIB)))


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A git checkout with a large file, and ignored ones."""
    folder = tmp_path / "checkout"
    write(folder / "data/large.bin", TREE_MIB)
    write(folder / "new file.txt", 0.001)  # not ignored, and so sent
    (folder / ".gitignore").write_text("/build/\n/runs/\n")
    for name, size in SIZES_MIB.items():
        write(folder / name, size)
    subprocess.run(["git", "init", "--quiet"], cwd=folder, check=True)
    subprocess.run(["git", "add", "data", ".gitignore"], cwd=folder, check=True)
    return folder


def run(folder: Path, *arguments: str, status: int = 0) -> str:
    """What the script prints; errors must be one line."""
    command = [sys.executable, str(SCRIPT), *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == status, done.stderr
    if status:
        assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
        return done.stderr
    return done.stdout


def split(folder: Path, *arguments: str, status: int = 0) -> str:
    return run(folder, "split", f"--limit-mib={LIMIT_MIB}", *arguments, status=status)


def parts_of(folder: Path) -> list[Path]:
    return sorted((folder / "build/parts").iterdir())


def size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


@pytest.fixture
def machine(checkout: Path, tmp_path: Path) -> Path:
    """Another machine that was sent the repository and all parts."""
    split(checkout)
    folder = tmp_path / "machine"
    shutil.copytree(checkout / "build/parts", folder / "build/parts")
    return folder


def test_each_call_is_under_the_limit_and_all_parts_together_are_everything(
    checkout: Path, machine: Path
) -> None:
    parts = parts_of(checkout)
    assert len(parts) == 3
    tree = (checkout / "data/large.bin").stat().st_size
    assert all(tree + size_of(part) < LIMIT_MIB * MIB for part in parts)
    assert "joined 8 files of 3 parts" in run(machine, "join")
    for name in SIZES_MIB:
        assert (machine / name).read_bytes() == (checkout / name).read_bytes()
    assert run(machine, "join") == ""
    assert not list(machine.rglob(".*.tmp"))


def test_the_plan_says_what_each_call_sends(checkout: Path) -> None:
    lines = split(checkout, "--dry-run").splitlines()
    assert not (checkout / "build/parts").exists()
    assert lines[0].startswith("the repository: 2.5 MiB in 3 files")
    assert lines[1].startswith("call 1: ") and f"{WHEELS}/a.whl, {WHEELS}/b.whl" in lines[1]
    assert lines[-1] == "3 calls carry 5.7 MiB, each under 6 MiB"
    sent = [float(line.split(": ")[1].split(" MiB")[0]) for line in lines[1:-1]]
    assert len(sent) == 3 and max(sent) < LIMIT_MIB


def test_a_new_split_replaces_the_old_one(checkout: Path) -> None:
    split(checkout)
    split(checkout, WHEELS)
    assert [part.name for part in parts_of(checkout)] == ["part-1"]
    assert not (checkout / "build/parts/part-1/runs").exists()


def test_parts_may_come_one_by_one_and_be_gone_once_joined(
    checkout: Path, machine: Path, tmp_path: Path
) -> None:
    shutil.move(machine / "build/parts/part-3", tmp_path / "later")
    error = run(machine, "join", status=2)
    assert "build/parts/part-3 is missing, which holds " in error and LATENTS in error
    assert not (machine / LATENTS).exists()
    assert "joined 2 files of 1 parts" in run(machine, "join", WHEELS)
    shutil.move(tmp_path / "later", machine / "build/parts/part-3")
    assert "joined 6 files of 3 parts" in run(machine, "join")
    shutil.rmtree(machine / "build/parts/part-2")
    assert run(machine, "join") == ""


def test_without_parts_there_is_nothing_to_join(tmp_path: Path) -> None:
    assert run(tmp_path, "join") == ""


FIRST = f"{LATENTS}/train/latents-00001.safetensors"


def part_with(machine: Path, file: str) -> Path:
    return next(part for part in parts_of(machine) if (part / file).is_file())


def cut(machine: Path) -> None:
    path = part_with(machine, FIRST) / FIRST
    path.write_bytes(path.read_bytes()[:-1])


def flip(machine: Path) -> None:
    path = part_with(machine, FIRST) / FIRST
    data = bytearray(path.read_bytes())
    data[1000] ^= 1
    path.write_bytes(data)


def remove(machine: Path) -> None:
    (part_with(machine, FIRST) / FIRST).unlink()


def edit(machine: Path, change: Callable[[dict[str, Any]], None]) -> None:
    for part in parts_of(machine):
        manifest = json.loads((part / "parts.json").read_text())
        change(manifest)
        (part / "parts.json").write_text(json.dumps(manifest))


def of_another_split(machine: Path) -> None:
    path = parts_of(machine)[-1] / "parts.json"
    path.write_text(path.read_text().replace("part-1", "part-9"))


def not_json(machine: Path) -> None:
    for part in parts_of(machine):
        (part / "parts.json").write_text("{")


def outside(machine: Path) -> None:
    def move(manifest: dict[str, Any]) -> None:
        manifest["part-1"]["../../outside"] = manifest["part-1"].popitem()[1]

    edit(machine, move)


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (cut, f"{FIRST} has 1258290 bytes instead of 1258291; carry build/parts/part-"),
        (flip, f"{FIRST} has another SHA-256 hash than parts.json says; carry build/parts/part-"),
        (remove, f"{FIRST} is missing; carry build/parts/part-"),
        (of_another_split, "are of different splits; carry all parts of the newest one again"),
        (not_json, "build/parts/part-1/parts.json is damaged ("),
        (outside, "is outside of the repository; split again"),
    ],
)
def test_damaged_parts_are_named_and_nothing_is_joined(
    machine: Path, damage: Callable[[Path], None], expected: str
) -> None:
    damage(machine)
    assert expected in run(machine, "join", status=2)
    assert not (machine / "runs").exists()
    assert not (machine.parent / "outside").exists()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["none"], "path='none' does not exist; scripts/collect_wheels.sh makes build/wheels"),
        (["data"], "data/large.bin is sent with the repository anyway; name ignored paths"),
        (["../machine"], "path='../machine' must be inside the repository"),
        (["--limit-mib=3"], "leaves no room under --limit-mib=3; raise the limit"),
        (["--limit-mib=4.5"], "latents-00001.safetensors has 1.2 MiB, and a call has room for "),
    ],
)
def test_what_can_not_be_split_is_one_line(
    checkout: Path, arguments: list[str], expected: str
) -> None:
    assert expected in run(checkout, "split", *arguments, status=2)
    assert not (checkout / "build/parts").exists()
