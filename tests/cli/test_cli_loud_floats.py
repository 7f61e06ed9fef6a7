"""Float samples beyond full scale are told by every command that reads audio."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from riffusion.cli.app import _LineFormatter
from tests.cli.conftest import Run

RATE = 44_100
PEAK = 3.0
WARNING = "the audio file has float samples up to 3 times full scale, which are clipped; lower its"

Command = Callable[[Path, Path], tuple[object, ...]]
COMMANDS: dict[str, tuple[Command, str]] = {
    "audio-to-image": (
        lambda folder, out: ("audio-to-image", "--audio", folder / "loud.wav", "--image",
                             out.with_suffix(".png"), "--device", "cpu"),
        "",
    ),
    "sample-clips": (
        lambda folder, out: ("sample-clips", "--audio", folder / "loud.wav", "--output-dir", out,
                             "--duration-ms", 200),
        "",
    ),
    "seed-image": (
        lambda folder, out: ("seed-image", "--audio", folder / "loud.wav", "-o",
                             out.with_suffix(".png"), "--tempo", 120, "--beats", 2),
        "",
    ),
    "sample-clips-batch": (
        lambda folder, out: ("sample-clips-batch", "--audio-dir", folder, "--output-dir", out,
                             "--duration-ms", 200),
        "loud.wav: ",
    ),
    "audio-to-images-batch": (
        lambda folder, out: ("audio-to-images-batch", "--audio-dir", folder, "--output-dir", out,
                             "--device", "cpu"),
        "loud.wav: ",
    ),
    "dataset build": (
        lambda folder, out: ("dataset", "build", folder, "-o", out, "--processes", 1,
                             "--max-clipping", 1, "--validation-share", 0, "--width", 32),
        "loud.wav: ",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", COMMANDS)
def test_clipped_floats_are_told_with_their_file(
    name: str, run: Run, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    tone = PEAK * np.sin(2 * np.pi * 440 * np.arange(2 * RATE) / RATE)
    soundfile.write(folder / "loud.wav", tone, RATE, subtype="FLOAT")
    soundfile.write(folder / "soft.wav", tone / 10, RATE, subtype="FLOAT")
    caplog.handler.setFormatter(_LineFormatter())
    command, prefix = COMMANDS[name]
    result = run(*command(folder, tmp_path / "out"))
    assert (result.code, result.err) == (0, "")
    assert [line for line in caplog.text.splitlines() if "full scale" in line] == [
        f"warning: {prefix}{WARNING} level by 9.6 dB to keep them"
    ]
