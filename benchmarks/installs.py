"""Size of an installation without an extra against one with torch, and the time that it takes.

python -m benchmarks.installs

A wheel of the checkout is installed by pip into two new environments, which needs a package index
and 7 GB of room. Packages come from pip's own cache where it has them, so seconds are those of a
second installation. Python files that pip compiles are counted, pip itself is not.
"""

import dataclasses
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import engine_table, results
from benchmarks.engine_table import Compared

INSTALLERS = ("pip", "setuptools", "pkg_resources", "_distutils_hack")
"""What a new environment has from the start."""
ROOT = Path(__file__).parents[1]
EXTRAS = {"light": "", "torch": "[torch]"}
REPEATS = 5


@dataclasses.dataclass(frozen=True)
class Installed:
    """One installation.

    Args:
        megabytes: on the disk.
        seconds: that pip took.
        packages: number of installed distributions.
        start_s: from the start of a process to an MP3 with the preset `fast`, median.
    """

    megabytes: float
    seconds: float
    packages: int
    start_s: float


def measure() -> dict[str, Installed]:
    """Both installations, by engine."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        wheel = _built(folder)
        pythons, seconds = {}, {}
        for engine, extra in EXTRAS.items():
            pythons[engine] = _environment(folder / engine)
            started = time.perf_counter()
            _run(pythons[engine], "-m", "pip", "install", "--quiet", f"{wheel}{extra}")
            seconds[engine] = time.perf_counter() - started
        starts = _starts_s(pythons, folder / "bells.mp3")
        found = {}
        for engine, python in pythons.items():
            (packages,) = python.parents[1].glob("lib/python*/site-packages")
            found[engine] = Installed(
                _megabytes(packages),
                seconds[engine],
                sum(1 for path in packages.glob("*.dist-info") if not _is_installer(path)),
                statistics.median(starts[engine]),
            )
        return found


def _built(folder: Path) -> Path:
    """A wheel of the checkout's tracked files, built in a copy: builds leave files behind."""
    source = folder / "source"
    tracked = subprocess.run(
        ["git", "-C", ROOT, "ls-files", "-z"], check=True, capture_output=True, text=True
    )
    for name in filter(None, tracked.stdout.split("\0")):
        if (ROOT / name).is_file() and not name.startswith(("web/", "tests/", "docs/")):
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    builder = _environment(folder / "builder")
    _run(builder, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", folder, source)
    (wheel,) = folder.glob("*.whl")
    return wheel


def _environment(folder: Path) -> Path:
    """A new environment's Python."""
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    return folder / "bin" / "python"


def _starts_s(pythons: dict[str, Path], output: Path) -> dict[str, list[float]]:
    """Seconds of the whole command, by turns; the first round fills the disk's cache."""
    seconds: dict[str, list[float]] = {engine: [] for engine in pythons}
    command = f"-m riffusion generate bells --seed 1 --preset fast -o {output}".split()
    for repeat in range(REPEATS + 1):
        for engine, python in pythons.items():
            started = time.perf_counter()
            _run(python, *command, "--engine", engine)
            if repeat:
                seconds[engine].append(time.perf_counter() - started)
    return seconds


def _run(python: Path, *arguments: str | Path) -> None:
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [python, *arguments], check=False, capture_output=True, text=True, env=variables
    )
    if done.returncode != 0:
        said = (done.stderr.strip().splitlines() or ["nothing"])[-1]
        command = " ".join(map(str, arguments))
        sys.exit(f"{command} failed: {said}; installing needs a package index within reach")


def _megabytes(packages: Path) -> float:
    """Size of all packages but the installers."""
    kept = (path for path in packages.iterdir() if not _is_installer(path))
    files = (file for path in kept for file in ([path] if path.is_file() else path.rglob("*")))
    return sum(file.lstat().st_size for file in files if file.is_file()) / 1e6


def _is_installer(path: Path) -> bool:
    return path.name.partition("-")[0] in INSTALLERS


def rows_of(found: dict[str, Installed]) -> list[Compared]:
    """Rows of the table."""
    torch, light = found["torch"], found["light"]
    return [
        Compared(
            "installation on the disk, with compiled files",
            torch.megabytes,
            light.megabytes,
            "MB",
            f"{torch.packages} and {light.packages} packages",
        ),
        Compared("`pip install`, packages in its cache", torch.seconds, light.seconds, "s"),
        Compared(
            "from the start of a process to an MP3, `fast`, each in its own installation",
            torch.start_s,
            light.start_s,
            "s",
        ),
    ]


def main() -> None:
    """Measure and save the result."""
    rows = rows_of(measure())
    results.save("installs", rows, engine_table.markdown(rows))


if __name__ == "__main__":
    main()
