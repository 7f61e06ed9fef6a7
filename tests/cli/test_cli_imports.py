"""Which large packages commands import, in processes of their own, and their workers."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from riffusion.audio import segment_from_waveform, write_audio
from riffusion.io.images import write_image
from riffusion.loops.harmony import Key
from riffusion.spectrogram.image_converter import SpectrogramImageConverter
from riffusion.spectrogram.params import SpectrogramParams
from tests.editing.signals import chords, steady_beats

REPOSITORY = Path(__file__).parents[2]
TIMEOUT_S = 600
NETWORK_PACKAGES = ("diffusers", "transformers", "accelerate", "peft")
TORCH_PACKAGES = ("torch", "torchaudio")
RECORDER = f"""
import os, sys
class Recorder:
    def find_spec(self, name, path=None, target=None):
        if name in {NETWORK_PACKAGES + TORCH_PACKAGES!r}:
            with open(os.environ["IMPORTED"], "a") as file:
                print(name, file=file)
        if name.split(".")[0] in os.environ.get("REFUSED", "").split():
            raise ModuleNotFoundError(name, name=name)
sys.meta_path.insert(0, Recorder())
"""
"""Python runs a module of the name sitecustomize at its start, in worker processes too."""

HARMLESS = (
    "av", "cachetools", "numpy", "PIL.Image", "pydantic", "pydub", "scipy.fft", "scipy.ndimage",
    "scipy.signal", "tokenizers", "typer.testing",
)  # fmt: skip
"""Packages that commands may import, and that take long. None of them starts a thread, as
onnxruntime does, since a copied process has no other threads."""
FORKS = """
import importlib, json, os, runpy, sys
for name in sys.argv[1:]:
    importlib.import_module(name)
for line in sys.stdin:
    asked = json.loads(line)
    child = os.fork()
    if not child:
        os.chdir(asked["directory"])
        os.environ.update(asked["variables"])
        for number, path in enumerate((os.devnull, os.devnull, "errors.txt")):
            os.dup2(os.open(path, os.O_RDWR | os.O_CREAT), number)
        sys.argv = ["riffusion", *asked["arguments"]]
        runpy.run_module("riffusion", run_name="__main__", alter_sys=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
"""A process with `HARMLESS` that runs each command in a copy of itself, which spares it those."""

COMMANDS = {
    "audio-to-image on the CPU": "audio-to-image --audio songs/a.wav --image out.png --device cpu",
    "audio-to-image": "audio-to-image --audio songs/a.wav --image out.png",
    "image-to-audio": "image-to-audio --image a.png --audio out.wav",
    "image-to-audio on an absent GPU": "image-to-audio --image a.png --audio out.mp3 --device cuda",
    "seed-image": "seed-image --style vibes -o out.png",
    "seed-image of a recording": "seed-image --audio beat.wav -o out.jpg",
    "print-exif": "print-exif --image a.png",
    "sample-clips": "sample-clips --audio songs/a.wav --output-dir out --num-clips 1",
    "stems": "stems songs/a.wav -o out",
    "difference": "difference songs/a.wav songs/a.wav -o out.wav",
    "remix": "remix songs/a.wav --gain drums=+6dB -o out.wav",
    "audio-to-images-batch": "audio-to-images-batch --audio-dir songs --output-dir out",
    "dataset build": "dataset build songs --output out --processes 2 --width 64",
    "dataset build on beats": (
        "dataset build songs --output out --processes 2 --width 64 --beats 2 --stereo"
    ),
    "dataset build at another rate": (
        "dataset build songs --output out --processes 1 --preset audio-diffusion --width 64"
    ),
    "retime": "retime beat.wav --tempo 100 --key Am -o out.flac",
    "loop": "loop beat.wav --tempo 100 --beats 4 -o out.wav",
    "generate": "generate bells --engine light --preset instant --duration 1 -o out.mp3",
    "generate, promised": "generate bells --engine light --preset instant --tempo 110 -o out.mp3",
    "interpolate": "interpolate bells piano --engine light --preset instant --steps 2 -o out.mp3",
    "jam": "jam bells --engine light --preset instant --minutes 0.1 -o out.wav",
    "repaint": "repaint beat.wav bells --engine light --preset instant --from 2 --to 4 -o out.wav",
    "restyle": "restyle beat.wav bells --engine light --preset instant -o out.flac",
    "extend": "extend beat.wav bells --engine light --preset instant --after 2 -o out.wav",
    "vary": "vary songs/a.wav --engine light --solver-steps 5 --count 1 -o out.wav",
    "help": "--help",
}
ASK_FOR_TORCH = ("image-to-audio on an absent GPU",)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the commands read, and the recorder."""
    files = tmp_path_factory.mktemp("files")
    tone = (0.3 * np.sin(np.arange(8 * 44_100) * 0.06)).astype(np.float32)[None]
    (files / "songs").mkdir()
    for name in ("a", "b"):
        write_audio(segment_from_waveform(tone, 44_100), files / "songs" / f"{name}.wav")
    notes = chords(Key.parse("A minor"), (0, 3, 4, 0), steady_beats(120, 8), 8, beats_per_chord=1)
    write_audio(segment_from_waveform(notes, 44_100), files / "beat.wav")
    converter = SpectrogramImageConverter(SpectrogramParams(), "cpu")
    write_image(converter.spectrogram_image_from_waveform(tone[:, :44_100]), files / "a.png")
    (files / "site").mkdir()
    (files / "site" / "sitecustomize.py").write_text(RECORDER)
    return files


@pytest.fixture
def directory(files: Path, tmp_path: Path) -> Path:
    """A folder with its own copy of the files, where a command runs."""
    return shutil.copytree(files, tmp_path, dirs_exist_ok=True)


def environment(files: Path, **variables: str) -> dict[str, str]:
    """Variables of a process that records what it imports in the file IMPORTED."""
    path = os.pathsep.join([str(files / "site"), str(REPOSITORY / "packages")])
    return os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"} | variables


def imported(directory: Path, code: str, **variables: str) -> list[str]:
    """The large packages that Python imports while it runs some code."""
    record = directory / "imported.txt"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=directory,
        env=environment(directory, IMPORTED=str(record), **variables),
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
    )
    assert done.returncode == 0, done.stderr
    return recorded(record)


def recorded(record: Path) -> list[str]:
    return sorted(set(record.read_text().split())) if record.exists() else []


@pytest.fixture(scope="module")
def forks(files: Path) -> Iterator["subprocess.Popen[str]"]:
    """A process that runs commands; what it imports itself is none of the large packages."""
    record = files / "at_first.txt"
    with subprocess.Popen(
        [sys.executable, "-c", FORKS, *HARMLESS],
        env=environment(files, IMPORTED=str(record)),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        yield process
    assert process.returncode == 0
    assert recorded(record) == []


def imported_by_command(
    forks: "subprocess.Popen[str]", directory: Path, *arguments: str, **variables: str
) -> list[str]:
    """The large packages that a command imports, in any of its processes."""
    record = directory / "imported.txt"
    asked = {
        "arguments": arguments,
        "directory": str(directory),
        "variables": {"IMPORTED": str(record), **variables},
    }
    assert forks.stdin is not None
    assert forks.stdout is not None
    print(json.dumps(asked), file=forks.stdin, flush=True)
    assert forks.stdout.readline() == "0\n", (directory / "errors.txt").read_text()
    return recorded(record)


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_work_without_the_packages_of_training_and_gpus(
    forks: "subprocess.Popen[str]", directory: Path, command: str
) -> None:
    """They neither import PyTorch and the packages above it nor need them to be installed."""
    refused = " ".join(NETWORK_PACKAGES + TORCH_PACKAGES)
    arguments = COMMANDS[command].split()
    packages = imported_by_command(forks, directory, *arguments, REFUSED=refused)
    assert packages == (["torch"] if command in ASK_FOR_TORCH else [])
    if command != "print-exif" and command != "help":
        assert any(directory.glob("out*"))


def test_the_processes_around_the_model_import_no_torch(directory: Path) -> None:
    """The gateway's, which starts the Truss server, and the server's until it loads the model."""
    modules = "import riffusion.serving.local.serve, riffusion.serving.local.truss_launcher"
    assert imported(directory, modules) == []


def test_parts_of_diffusion_without_a_network_import_none(directory: Path) -> None:
    parts = "import riffusion.diffusion, riffusion.diffusion.prompt_weights"
    assert not set(imported(directory, parts)) & set(NETWORK_PACKAGES)
    pipeline = """
try:
    from riffusion.diffusion import RiffusionPipeline
except ImportError as error:
    assert str(error) in ("diffusers", "transformers"), error
else:
    raise AssertionError("it needs none of them")
"""
    assert set(imported(directory, pipeline, REFUSED="diffusers transformers")) & set(
        NETWORK_PACKAGES
    )
