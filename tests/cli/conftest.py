"""Short recordings, and the `riffusion` command run in this process."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from riffusion.audio import segment_from_waveform, write_audio
from riffusion.cli import main


@dataclass(frozen=True)
class Result:
    code: int
    out: str
    err: str


Run = Callable[..., Result]
WriteRecording = Callable[..., Path]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """A function that runs a command line in this process."""
    monkeypatch.delenv("RIFFUSION_DEBUG", raising=False)
    monkeypatch.delenv("RIFFUSION_CHECKPOINT", raising=False)

    def run_command(*arguments: object) -> Result:
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Result(code, captured.out, captured.err)

    return run_command


@pytest.fixture
def write_recording(tmp_path: Path) -> WriteRecording:
    """A function that writes a tone whose pitch rises, so that no two places in it are alike."""

    def write(
        name: str,
        *,
        duration_s: float = 1.0,
        rate: int = 44100,
        channels: int = 1,
        peak: float = 0.3,
    ) -> Path:
        t = np.arange(round(duration_s * rate)) / rate
        sweep = peak * np.sin(2 * np.pi * (300 + 200 * t) * t)
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_audio(segment_from_waveform(np.stack([sweep] * channels), rate), path)
        return path

    return write
