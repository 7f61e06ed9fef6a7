"""What some tests need that isn't a Python package. Without it they are left out, by name.

`need(...)` skips, or fails if RIFFUSION_REQUIRE_ALL=1. `python -m tests.needs` prints the Debian
packages that bring what is missing here.
"""

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from corpora.general_midi.synthesizer import _fluidsynth_library, find_soundfont
from riffusion.errors import RiffusionError

ROOT = Path(__file__).parents[1]
FLUIDSYNTH = "FluidSynth"
SOUNDFONT = "a General MIDI soundfont"
DEBIAN_PACKAGES = {
    "curl": "curl",
    FLUIDSYNTH: "fluidsynth",
    SOUNDFONT: "musescore-general-soundfont-small",
}
"""Debian packages by what Python's tests need beside Node."""


def is_there(name: str) -> bool:
    """Whether this machine has a program, `FLUIDSYNTH` or `SOUNDFONT`."""
    if name not in (FLUIDSYNTH, SOUNDFONT):
        return shutil.which(name) is not None
    try:
        _fluidsynth_library() if name == FLUIDSYNTH else find_soundfont()
    except RiffusionError:
        return False
    return True


def need(*names: str) -> None:
    """Leave the test out where one of `names` is missing."""
    _leave_out_without([name for name in names if not is_there(name)])


def need_own_mounts() -> None:
    """Leave the test out where a process can't have mounts of its own, as it can as root."""
    _leave_out_without([] if _may_mount() else ["the right to mount, which root has,"])


def need_node() -> None:
    """Leave the test out without a Node and npm that the web app's tools work with."""
    _leave_out_without([] if _has_node() else ["Node with npm"])


def ray_python() -> Path:
    """Python of the environment with Ray, which `make setup-ray` makes."""
    return Path(os.environ.get("RIFFUSION_RAY_PYTHON") or ROOT / ".venv-ray/bin/python")


def need_ray() -> None:
    """Leave the test out without Ray's own environment."""
    _leave_out_without([] if ray_python().exists() else ["Ray (make setup-ray)"])


def need_ray_data() -> None:
    """Leave the test out without Ray Data, which the extra `ray-data` brings."""
    _leave_out_without([] if importlib.util.find_spec("ray") else ["Ray (the extra ray-data)"])


def _leave_out_without(missing: list[str]) -> None:
    """Skip if anything is missing; with RIFFUSION_REQUIRE_ALL=1 fail."""
    reason = f"{' and '.join(missing)} {'are' if len(missing) > 1 else 'is'} missing"
    if missing and os.environ.get("RIFFUSION_REQUIRE_ALL") == "1":
        pytest.fail(f"{reason}, and RIFFUSION_REQUIRE_ALL=1 forbids it", pytrace=False)
    if missing:
        pytest.skip(reason)


def _may_mount() -> bool:
    """Whether unshare, mount, chroot and setpriv are there and allowed."""
    if not all(map(shutil.which, ("unshare", "chroot", "setpriv"))):
        return False
    command = ["unshare", "--mount", "mount", "-t", "tmpfs", "tmpfs", tempfile.gettempdir()]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def _has_node() -> bool:
    """Whether scripts/web_tool.sh finds them; it knows the oldest version."""
    command = [ROOT / "scripts/web_tool.sh", "npm"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def left_out_lines(skipped: Iterable[Any]) -> list[str]:
    """A line per reason, with the number of tests, from pytest's reports of skipped tests."""
    reasons = Counter(report.longrepr[2].removeprefix("Skipped: ") for report in skipped)
    return [
        f"left out: {count} test{'s' * (count > 1)}: {reason}"
        for reason, count in sorted(reasons.items())
    ]


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Say how many tests were left out and why, also to the file LEFT_OUT if that is set."""
    if hasattr(config, "workerinput"):  # one of xdist's processes, which has only some reports
        return
    lines = left_out_lines(terminalreporter.stats.get("skipped", []))
    for line in lines:
        terminalreporter.write_line(line)
    if lines and (path := os.environ.get("LEFT_OUT")):
        with Path(path).open("a") as file:
            file.writelines(f"{line}\n" for line in lines)


if __name__ == "__main__":
    packages = [package for name, package in DEBIAN_PACKAGES.items() if not is_there(name)]
    packages += [] if _has_node() else ["nodejs", "npm"]
    sys.stdout.write(" ".join(packages) + "\n")
