"""Wheel and source distribution are complete, and the wheel works without a checkout.

The wheel is installed into a virtual environment of its own. A path file adds the libraries of the
tests' environment; an editable install there has no effect, because Python ignores the path files
of folders that a path file adds.
"""

import base64
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tarfile
import time
import urllib.request
import venv
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from riffusion.audio import num_samples, read_audio

ROOT = Path(__file__).parents[2]
BUILT_FROM = (
    "setup.py", "pyproject.toml", "MANIFEST.in", "README.md", "LICENSE",
    "config.yaml", "requirements.txt", "data", "model", "packages", "tests/test_datatypes.py",
)  # fmt: skip
SAMPLES_PER_CLIP = 512 * 441
TIMEOUT_S = 240
"""Far longer than any command here takes on two busy cores, so only a hang reaches it."""
GENERATE = (
    "generate bells --seed-image og_beat --mask-image mask_gradient_dark --steps 2 -o bells.mp3"
)
JAM = "jam bells --minutes 0.17 --steps 1 -o jam.wav"
BUILD = """
import sys
from setuptools import build_meta
getattr(build_meta, sys.argv[1])(sys.argv[2])
"""


def files_of(*folders: str) -> set[Path]:
    """Files of folders of the repository, without what Python and installations leave there."""
    found = {path for folder in folders for path in (ROOT / folder).rglob("*") if path.is_file()}
    return {
        path.relative_to(ROOT)
        for path in found
        if "__pycache__" not in path.parts and "egg-info" not in str(path)
    }


def run(*command: object, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        list(map(str, command)),
        cwd=cwd,
        env=environment(**variables),
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
    )


def environment(**variables: str) -> dict[str, str]:
    """This process' variables, without those that lead to the checkout."""
    unwanted = ("PYTHONPATH", "RIFFUSION_CHECKPOINT")
    kept = {name: value for name, value in os.environ.items() if name not in unwanted}
    return {**kept, "OMP_NUM_THREADS": "1", **variables}


def build(source: Path, kind: str, output: Path) -> Path:
    """Build by setuptools, as pip does: `kind` is `build_wheel` or `build_sdist`."""
    done = run(sys.executable, "-c", BUILD, kind, output, cwd=source)
    assert done.returncode == 0, done.stderr
    (built,) = output.iterdir()
    return built


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what is built, so that nothing is written into the checkout."""
    source = tmp_path_factory.mktemp("source")
    skipped = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for name in BUILT_FROM:
        (source / name).parent.mkdir(exist_ok=True)
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, ignore=skipped)
        else:
            shutil.copy(ROOT / name, source / name)
    return source


@pytest.fixture(scope="module")
def wheel(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel. Files that are left from an earlier build must not get into it."""
    stale = source / "build/lib/riffusion/bundle/data/removed.py"
    stale.parent.mkdir(parents=True)
    stale.touch()
    (source / "model/__pycache__").mkdir()
    (source / "model/__pycache__/model.cpython-311.pyc").touch()
    return build(source, "build_wheel", tmp_path_factory.mktemp("wheel"))


@dataclass(frozen=True)
class Installed:
    """A virtual environment with the wheel."""

    directory: Path

    @property
    def command(self) -> Path:
        return self.directory / "bin/riffusion"

    @property
    def package(self) -> Path:
        (package,) = self.directory.glob("lib/python3*/site-packages/riffusion")
        return package


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    directory = tmp_path_factory.mktemp("installed")
    venv.create(directory, symlinks=True)
    done = run(
        sys.executable, "-m", "pip", "--python", directory / "bin/python", "install",
        "--quiet", "--disable-pip-version-check", "--no-index", "--no-deps", wheel,
        cwd=directory,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    installed = Installed(directory)
    libraries = {sysconfig.get_path(name) for name in ("purelib", "platlib")}
    (installed.package.parent / "libraries.pth").write_text("\n".join(libraries))
    return installed


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    """An empty working directory."""
    empty = tmp_path / "empty"
    empty.mkdir()
    return empty


def bundle_files() -> set[str]:
    names = {Path("config.yaml"), Path("requirements.txt"), *files_of("data", "model")}
    return {f"riffusion/bundle/{name}" for name in names}


def test_the_wheel_holds_the_package_and_the_bundle_and_nothing_else(wheel: Path) -> None:
    assert wheel.name.startswith("riffusion_truss-")
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
        ours = {str(path.relative_to("packages")) for path in files_of("packages")}
        assert names == ours | bundle_files()
        for path in files_of("data"):
            assert archive.read(f"riffusion/bundle/{path}") == (ROOT / path).read_bytes(), path
    assert {"riffusion/py.typed", "riffusion/serving/gateway/api_page.html"} <= names


def test_the_source_distribution_builds_the_same_wheel(
    source: Path, wheel: Path, tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "again").mkdir()
    sdist = build(source, "build_sdist", tmp_path / "out")
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path / "unpacked")
    (unpacked,) = (tmp_path / "unpacked").iterdir()
    assert not (unpacked / "tests").exists()  # some of the tests would be of no use
    rebuilt = build(unpacked, "build_wheel", tmp_path / "again")
    with zipfile.ZipFile(wheel) as first, zipfile.ZipFile(rebuilt) as second:
        sums = [
            {file.filename: file.CRC for file in archive.infolist() if "RECORD" not in str(file)}
            for archive in (first, second)
        ]
    assert sums[0] == sums[1]


def test_an_editable_install_uses_the_checkout(source: Path, tmp_path: Path) -> None:
    """As in `make setup`. Nothing is copied, so changes of data/ have effect at once."""
    target = tmp_path / "editable"
    done = run(
        sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
        "--no-index", "--no-deps", "--no-build-isolation", "--target", target, "-e", source,
        cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (path_file,) = target.glob("*.pth")
    assert path_file.read_text().split() == [str(source / "packages")]
    assert not (source / "packages/riffusion/bundle").exists()


def test_the_checkout_cannot_be_imported_from_the_wheels_environment(
    installed: Installed, empty: Path
) -> None:
    """Otherwise the tests below could pass by the checkout's files."""
    code = "import riffusion, sys; print(riffusion.__file__, *sys.path, sep='\\n')"
    done = run(installed.directory / "bin/python", "-c", code, cwd=empty)
    module, *paths = done.stdout.splitlines()
    assert Path(module).parent == installed.package
    assert not {str(ROOT), str(ROOT / "packages")} & set(paths)


def test_generate_and_jam_in_any_directory(installed: Installed, empty: Path) -> None:
    """In one process, which imports torch and diffusers once; `serve` is run by its script."""
    code = f"""
from riffusion.cli import main
assert main({GENERATE!r}.split()) == 0
assert main({JAM!r}.split()) == 0
"""
    done = run(installed.directory / "bin/python", "-c", code, cwd=empty)
    assert done.returncode == 0, done.stderr
    assert f"from        {installed.package}/bundle/data/demo-checkpoint" in done.stdout
    assert num_samples(read_audio(empty / "bells.mp3")) == SAMPLES_PER_CLIP
    assert num_samples(read_audio(empty / "jam.wav")) == 2 * SAMPLES_PER_CLIP


@contextmanager
def served(installed: Installed, directory: Path) -> Iterator[str]:
    """The address of the gateway of `riffusion serve`, which runs inside."""
    with socket.socket() as first, socket.socket() as second:
        for probe in (first, second):
            probe.bind(("127.0.0.1", 0))
        port, gateway_port = (str(probe.getsockname()[1]) for probe in (first, second))
    with (directory.parent / "serve.log").open("w+") as log:
        process = subprocess.Popen(
            [installed.command, "serve", "--port", port, "--gateway-port", gateway_port],
            cwd=directory,
            env=environment(TMPDIR=str(directory.parent), RIFFUSION_ENGINE="light"),
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            deadline = time.monotonic() + TIMEOUT_S
            while True:
                with socket.socket() as probe:
                    if probe.connect_ex(("127.0.0.1", int(gateway_port))) == 0:
                        break
                log.seek(0)
                assert process.poll() is None, log.read()
                assert time.monotonic() < deadline, log.read()
                time.sleep(0.1)
            yield f"http://127.0.0.1:{gateway_port}"
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(TIMEOUT_S)
    assert process.returncode == 0


def test_serve_in_any_directory(installed: Installed, empty: Path) -> None:
    request: dict[str, Any] = {
        "start": {"prompt": "church bells", "seed": 42},
        "num_inference_steps": 2,
        "seed_image_id": "agile",
        "audio_format": "wav",
    }
    with served(installed, empty) as url:
        (directory,) = empty.parent.glob("riffusion-server-*")
        assert not (directory / "context/packages/riffusion/bundle").exists()  # not a second copy
        asked = urllib.request.Request(
            f"{url}/run_inference/",
            json.dumps(request).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(asked, timeout=TIMEOUT_S) as answer:
            clip = json.load(answer)
        with urllib.request.urlopen(f"{url}/docs", timeout=TIMEOUT_S) as answer:
            assert b"<!doctype html>" in answer.read()
    audio = empty / "clip.wav"
    audio.write_bytes(base64.b64decode(clip["audio"].split(",")[1]))
    assert num_samples(read_audio(audio)) == SAMPLES_PER_CLIP
    assert not list(empty.parent.glob("riffusion-server-*"))


DELETED = (
    ("", "generate x -o x.mp3", "no checkpoint: data/demo-checkpoint is in none of {empty}, "),
    ("", "serve", "no Truss bundle (config.yaml and model/model.py) in or above {empty}, or "),
    ("data", "serve", "bundle={bundle} has no data/seed_images"),
    ("data/demo-checkpoint", "serve", "no checkpoint: data/demo-checkpoint is in none of "),
    ("data/seed_images", "seed-image --list", "data/seed_images is in none of {empty}, "),
)
"""Parts of the bundle, a command that needs each, and its error."""
WITHOUT_PARTS = """
import contextlib, io, json, sys
from pathlib import Path
from riffusion.cli import main
bundle, kept, results = Path(sys.argv[1]), Path(sys.argv[2]), []
for deleted, command, _ in json.loads(sys.argv[3]):
    (bundle / deleted).rename(kept)
    with contextlib.redirect_stderr(io.StringIO()) as errors:
        code = main(command.split())
    results.append((code, errors.getvalue()))
    kept.rename(bundle / deleted)
print(json.dumps(results))
"""
"""One process for all, as it imports torch and truss."""


def test_what_was_deleted_from_the_package_is_named(installed: Installed, empty: Path) -> None:
    bundle, kept = installed.package / "bundle", empty.parent / "kept"
    done = run(
        installed.directory / "bin/python", "-c", WITHOUT_PARTS, bundle, kept, json.dumps(DELETED),
        cwd=empty,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout.splitlines()[-1])  # commands print, too
    for (*_, message), (code, errors) in zip(DELETED, results, strict=True):
        assert code == 2, message
        (line,) = errors.splitlines()
        assert line.startswith("error: " + message.format(empty=empty, bundle=bundle))
        assert "install riffusion-truss again" in line
    assert list(empty.iterdir()) == []
