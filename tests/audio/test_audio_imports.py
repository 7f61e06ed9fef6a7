"""Reading and writing audio works without importing torch, in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from riffusion.audio import read_audio, segment_from_waveform, write_audio
from tests.audio.audio_signals import sine

PACKAGES = Path(__file__).parents[2] / "packages"
TIMEOUT_S = 600
MODULES = (
    "riffusion.audio",
    "riffusion.audio.decoding",
    "riffusion.audio.recording",
    "riffusion.audio.sampling",
    "riffusion.audio.spectrum",
    "riffusion.audio.upstream",
    "riffusion.editing.separation",
    "riffusion.editing.splicing",
    "riffusion.editing.stems",
    "riffusion.io.images",
    "riffusion.spectrogram.compatibility",
    "riffusion.spectrogram.image",
    "riffusion.spectrogram.params",
)
WORK = """
import sys
from riffusion.audio import *
segment = read_audio(sys.argv[1])
audio = audio_from_segment(convert(segment, sample_rate=48_000, channels=1))
loud = Audio(normalize_waveform(audio.waveform, 48_000), 48_000)
write_audio(segment_from_audio(join_loops([loud, loud], 0.1)), sys.argv[2])
"""
ENDING = """
import sys
large = {"torch", "torchaudio", "diffusers", "transformers", "scipy.stats", "scipy.signal"}
print(*sorted(large & set(sys.modules)))
"""


def run(program: str, *arguments: str) -> str:
    """Run a program; returns the large packages that are imported at its end."""
    done = subprocess.run(
        [sys.executable, "-c", program + ENDING, *arguments],
        env=os.environ | {"PYTHONPATH": str(PACKAGES)},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("module", MODULES)
def test_modules_for_audio_and_images_import_no_torch(module: str) -> None:
    assert run(f"import {module}") == ""


def test_audio_is_read_resampled_normalised_and_written_without_torch(tmp_path: Path) -> None:
    source, target = tmp_path / "a.flac", tmp_path / "b.mp3"
    stereo = np.repeat(sine(440, 0.5, 1.0, 44_100), 2, axis=0)
    write_audio(segment_from_waveform(stereo, 44_100), source)
    assert "torch" not in run(WORK, str(source), str(target)).split()
    written = read_audio(target)
    assert (written.frame_rate, written.channels) == (48_000, 1)
    assert written.duration_seconds > 1
