"""A bare GPU machine has no PyAV: what runs there imports with the placeholder in its place."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
PLACEHOLDER = ROOT / "scripts" / "av_placeholder.py"


def run(site: Path, program: str) -> str:
    """What a program prints that has the placeholder; its last line, if it fails."""
    (site / "av").mkdir()
    shutil.copy(PLACEHOLDER, site / "av" / "__init__.py")
    path = os.pathsep.join(map(str, (site, ROOT, ROOT / "packages")))
    command = [sys.executable, "-c", program]
    environment = os.environ | {"PYTHONPATH": path}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    return done.stdout.strip() if done.returncode == 0 else done.stderr.strip().splitlines()[-1]


def test_what_runs_on_a_gpu_machine_imports_without_pyav(tmp_path: Path) -> None:
    """In one process: torch and diffusers take seconds to import."""
    modules = (
        "benchmarks.gpu_checks, benchmarks.full_size, riffusion.training.recipes, "
        "riffusion.cli.app, riffusion.audio"
    )
    program = f"import av, {modules}; print(av.__file__)"
    assert run(tmp_path, program) == str(tmp_path / "av" / "__init__.py")


def test_names_of_the_placeholder_say_what_is_missing(tmp_path: Path) -> None:
    program = """
import av
from av.codec.context import Flags2
try:
    pass
except (av.FFmpegError, ValueError):
    pass
print(av.container.InputContainer.__name__, Flags2.skip_manual.__name__)
try:
    av.open("a.wav")
except RuntimeError as error:
    print(error)
"""
    assert run(tmp_path, program).splitlines() == [
        "InputContainer skip_manual",
        "av.open is used, but PyAV is not installed; install the package av",
    ]
