"""What `make test` does where a program or library that tests need is missing."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests import conftest, needs
from tests.patience import PATIENCE_S
from tests.setup.bare_machine import Machine

ROOT = Path(__file__).parents[2]
TESTS = """
import pytest
from tests.needs import need

@pytest.fixture(scope="module")
def curl():
    need("curl", "no such program")

@pytest.mark.parametrize("number", range(3))
def test_in_a_fixture(curl, number):
    raise AssertionError("it isn't left out")

def test_in_its_body():
    need("no such program")
    raise AssertionError("it isn't left out")

def test_with_everything():
    need("sh")
"""


def run_tests(tmp_path: Path, *options: str, **variables: str) -> tuple[int, str]:
    """Exit status and output of pytest with this project's hook, where curl is missing.

    tests.conftest has the hook, too, but imports torch, which takes seconds in each process.
    """
    assert conftest.pytest_terminal_summary is needs.pytest_terminal_summary
    (tmp_path / "test_some.py").write_text(TESTS)
    (tmp_path / "bin").mkdir(exist_ok=True)
    if not (tmp_path / "bin/sh").exists():
        (tmp_path / "bin/sh").symlink_to(shutil.which("sh") or "")
    done = subprocess.run(
        [
            sys.executable, "-m", "pytest", "-p", "tests.needs", "-p", "no:cacheprovider",
            "-c", ROOT / "pyproject.toml", "--rootdir", tmp_path, *options, tmp_path,
        ],
        cwd=ROOT,
        env={
            name: value for name, value in os.environ.items()
            if not name.startswith(("PYTEST", "LEFT_OUT", "RIFFUSION_REQUIRE_ALL"))
        } | {"PATH": str(tmp_path / "bin"), **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE_S,
    )  # fmt: skip
    return done.returncode, done.stdout


@pytest.mark.parametrize("options", [(), ("-n", "2")], ids=["one process", "two processes"])
def test_what_is_left_out_is_counted_and_named(options: tuple[str, ...], tmp_path: Path) -> None:
    code, said = run_tests(tmp_path, *options, LEFT_OUT=str(tmp_path / "left_out.txt"))
    assert code == 0, said
    assert "1 passed, 4 skipped" in said
    lines = (tmp_path / "left_out.txt").read_text().splitlines()
    assert lines == [
        "left out: 3 tests: curl and no such program are missing",
        "left out: 1 test: no such program is missing",
    ]
    assert set(lines) <= set(said.splitlines())


def test_with_require_all_it_is_a_failure(tmp_path: Path) -> None:
    code, said = run_tests(tmp_path, RIFFUSION_REQUIRE_ALL="1")
    assert code == 1
    assert "1 passed, 1 error" in said.replace("1 failed, ", "").replace("3 errors", "1 error")
    assert "no such program is missing, and RIFFUSION_REQUIRE_ALL=1 forbids it" in said
    assert "left out" not in said.replace("isn't left out", "")


def test_libraries_and_files_are_looked_for_where_they_are_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("corpora.general_midi.synthesizer.DEFAULT_SOUNDFONTS", ())
    assert not needs.is_there(needs.SOUNDFONT)
    (tmp_path / "some.sf2").touch()
    soundfonts = (str(tmp_path / "some.sf2"),)
    monkeypatch.setattr("corpora.general_midi.synthesizer.DEFAULT_SOUNDFONTS", soundfonts)
    assert needs.is_there(needs.SOUNDFONT)
    monkeypatch.setitem(sys.modules, "fluidsynth", None)  # its import fails
    needs._fluidsynth_library.cache_clear()
    assert not needs.is_there(needs.FLUIDSYNTH)


@pytest.fixture
def ready(tmp_path: Path) -> Machine:
    """A machine without Node, whose .venv has a Python that has just curl's test to run."""
    machine = Machine(tmp_path)
    for name in (
        "requirements.txt",
        "requirements-dev.txt",
        "requirements-tagger.txt",
        "pyproject.toml",
    ):
        shutil.copy(ROOT / name, machine.root)
    (machine.bin / "mkdir").symlink_to(shutil.which("mkdir") or "")
    python = machine.root / ".venv/bin/python"
    python.parent.mkdir(parents=True)
    python.write_text(
        "#!/bin/sh\n"
        'case "$*" in\n'
        '*tests.needs*) command -v curl >/dev/null && echo || echo "curl";;\n'
        '*pytest*) command -v curl >/dev/null || echo "left out: 2 tests" >>"$LEFT_OUT";;\n'
        "esac\n"
    )
    python.chmod(0o755)
    (machine.root / ".venv/.ready").touch()
    return machine


def test_make_test_says_at_its_end_what_it_left_out(ready: Machine) -> None:
    for _ in range(2):  # a second run starts a new list
        code, said = ready.run("make", "test", RIFFUSION_INSTALL="0")
        assert code == 0, said
        assert "curl not installed: RIFFUSION_INSTALL=0 forbids it" in said
        first, second = said.splitlines()[-2:]
        assert first == "left out: 2 tests"
        assert second.startswith("left out: the web app's tests, in Node and in a browser: npm is")
    code, said = ready.run("make", "test", RIFFUSION_INSTALL="0", RIFFUSION_REQUIRE_ALL="1")
    assert code != 0
    assert "left out" not in said  # it ends before the tests


def test_make_test_brings_what_is_missing(ready: Machine) -> None:
    """Here apt-get is a script that brings curl, Node and Chromium at once."""
    brought = {
        "curl": "",
        "node": "echo v20.1.0",
        "npm": 'case "$1" in ci) mkdir -p node_modules;; *) mkdir -p dist; touch dist/index.html;; esac',  # noqa: E501
        "chromium": "",
    }
    for name, script in brought.items():
        ready.has(f"brought-{name}", script)
    (ready.bin / "mv").symlink_to(shutil.which("mv") or "")
    ready.has("id", "echo 0")
    ready.has(
        "apt-get",
        'echo "apt-get $*"\ncase "$*" in *install*)\n'
        + "".join(f"mv {ready.bin}/brought-{name} {ready.bin}/{name}\n" for name in brought)
        + ";; esac",
    )
    code, said = ready.run("make", "test", RIFFUSION_REQUIRE_ALL="1")
    assert code == 0, said
    assert "install -y --no-install-recommends curl" in said
    assert "left out" not in said
