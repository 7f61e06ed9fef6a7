"""Every file in examples/ runs: the clients against the real server, the library's on their own."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from riffusion.audio import num_samples, read_audio, segment_from_waveform, write_audio
from riffusion.io.images import read_image
from riffusion.spectrogram.params import SpectrogramParams
from tests.needs import need, need_node
from tests.patience import PATIENCE_S

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
CLIP_SAMPLES = 512 * 441
RUNNERS = {".py": sys.executable, ".sh": "sh", ".mjs": "node"}
ARGUMENTS = {
    "one_clip.py": ("church bells", "out.mp3"),
    "progress.py": ("church bells", "out.mp3"),
    "own_recording.py": ("recording.wav", "organ", "out.mp3"),
    "repaint.py": ("recording.wav", "1", "2", "organ", "out.wav"),
    "one_clip.sh": ("church bells", "out.mp3"),
    "one_clip.mjs": ("church bells", "out.mp3"),
}
NEEDS = {".sh": lambda: need("curl"), ".mjs": need_node, ".py": lambda: None}
"""base64 is in coreutils, as ls is."""


def run(
    path: Path, arguments: tuple[str, ...], cwd: Path, **environment: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [RUNNERS[path.suffix], path, *arguments],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """Three seconds of a tone that swells."""
    t = np.arange(3 * 44_100) / 44_100
    tone = 0.4 * np.sin(2 * np.pi * 440 * t) * np.sin(np.pi * t / 3)
    write_audio(segment_from_waveform(tone[None], 44_100), tmp_path / "recording.wav")
    return tmp_path / "recording.wav"


def test_every_client_is_run_here() -> None:
    assert {path.name for path in (EXAMPLES / "clients").iterdir()} == set(ARGUMENTS)


@pytest.mark.parametrize("name", ARGUMENTS)
def test_a_client_writes_a_clip(
    name: str, gateway_url: str, recording: Path, tmp_path: Path
) -> None:
    path = EXAMPLES / "clients" / name
    NEEDS[path.suffix]()
    done = run(path, ARGUMENTS[name], tmp_path, RIFFUSION_URL=gateway_url)
    assert done.returncode == 0, done.stderr
    output = ARGUMENTS[name][-1]
    assert f"Wrote {output}" in done.stdout
    has_recording = ARGUMENTS[name][0] == recording.name
    expected = num_samples(read_audio(recording)) if has_recording else CLIP_SAMPLES
    assert num_samples(read_audio(tmp_path / output)) == expected


@pytest.mark.parametrize("name", ["one_clip.py", "progress.py", "one_clip.sh", "one_clip.mjs"])
def test_a_client_shows_the_server_s_error(name: str, gateway_url: str, tmp_path: Path) -> None:
    path = EXAMPLES / "clients" / name
    NEEDS[path.suffix]()
    done = run(path, ("(a:9999)", "out.mp3"), tmp_path, RIFFUSION_URL=gateway_url)
    assert done.returncode == 1
    assert "start.prompt" in done.stderr
    assert not (tmp_path / "out.mp3").exists()


def test_the_library_interpolates(tmp_path: Path) -> None:
    (tmp_path / "data").symlink_to(ROOT / "data")
    done = run(EXAMPLES / "library/interpolate.py", ("out.wav",), tmp_path)
    assert done.returncode == 0, done.stderr
    assert num_samples(read_audio(tmp_path / "out.wav")) == 3 * CLIP_SAMPLES - 2 * 4410


def test_the_library_converts_there_and_back(recording: Path, tmp_path: Path) -> None:
    names = ("recording.wav", "out.png", "out.wav")
    done = run(EXAMPLES / "library/spectrogram.py", names, tmp_path)
    assert done.returncode == 0, done.stderr
    assert SpectrogramParams.from_exif(read_image(tmp_path / "out.png").getexif())
    assert num_samples(read_audio(tmp_path / "out.wav")) == num_samples(read_audio(recording))
