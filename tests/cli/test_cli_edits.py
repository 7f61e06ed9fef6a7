"""Edits with a checkpoint: what they refuse before it is loaded."""

from pathlib import Path

import numpy as np
import pytest

from riffusion.audio import segment_from_waveform, write_audio
from riffusion.errors import CheckpointError
from tests.cli.conftest import Run

RATE = 8000


def _no_checkpoint(*_: object, **__: object) -> None:
    raise CheckpointError("would be loaded")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a steady tone of 3 s and one of 50 ms; checkpoints can't be loaded."""
    monkeypatch.setattr("riffusion.generation.generator.ClipGenerator.load", _no_checkpoint)
    for name, duration_s in (("tone.wav", 3.0), ("short.wav", 0.05)):
        tone = 0.3 * np.sin(2 * np.pi * 220 * np.arange(round(duration_s * RATE)) / RATE)
        write_audio(segment_from_waveform(tone[None], RATE), tmp_path / name)
    (tmp_path / "out.wav").write_bytes(b"before")
    return tmp_path


REPAINT = ("repaint", "tone.wav", "bells")
RESTYLE = ("restyle", "tone.wav", "bells")
EXTEND = ("extend", "tone.wav", "bells")
SECTION = ("--from", "1", "--to", "2")
BETWEEN = ("between", "tone.wav", "TONE")
VARY = ("vary", "tone.wav")

REFUSED = {
    (*REPAINT, "--from", "1"): "Missing option '--to'",
    (*REPAINT, "--from", "1", "--to", "soon"): "--to: 'soon' is not a time",
    (*REPAINT, "--from", "-1", "--to", "2"): "--from: '-1' is not a time",
    (*REPAINT, "--from", "nan", "--to", "2"): "--from: 'nan' is not a time",
    (*REPAINT, "--from", "2", "--to", "1"): "--to: the region from 2 s to 1 s must be at least",
    (*REPAINT, "--from", "1", "--to", "3.001"): "--to: 3.001 is after the recording's end at 3.000",
    (*REPAINT, *SECTION, "--low-hz", "nan"): "--low-hz: nan must be a finite number",
    (*REPAINT, *SECTION, "--low-hz", "4000"): "--low-hz: 4000 must be below 4000 Hz",
    (
        *REPAINT,
        *SECTION,
        "--low-hz",
        "9",
        "--high-hz",
        "8",
    ): "8 must be above --low-hz=9",
    (*REPAINT, *SECTION, "--denoising", "2"): "--denoising: ",
    (*REPAINT, *SECTION, "--guidance", "nan"): "--guidance: ",
    (*REPAINT, *SECTION, "--negative-prompt", "(a:101)"): "--negative-prompt: ",
    ("repaint", "tone.wav", "(a:101)", *SECTION): "prompt: ",
    ("repaint", "short.wav", "bells", "--from", "0", "--to", ".05"): "0.050 s, at least 0.5 s",
    ("repaint", "none.wav", "bells", *SECTION): "does not exist",
    (*RESTYLE, "--prompt-at", "1"): "--prompt-at",
    (
        *RESTYLE,
        "--prompt-at",
        "0:00",
        "jazz",
    ): "--prompt-at: 0 must be a time inside the recording, o",
    (*RESTYLE, "--prompt-at", "3.1", "jazz"): "--prompt-at: 3.1 must be a time inside",
    (*RESTYLE, "--prompt-at", "1:60", "jazz"): "--prompt-at: '1:60' has 60 seconds or more",
    (*RESTYLE, "--prompt-at", "1", "a", "--prompt-at", "0:01", "b"): "--prompt-at: 1 s has two",
    (*RESTYLE, "--prompt-at", "1", "(a:101)"): "--prompt-at: ",
    ("restyle", "short.wav", "bells"): "0.050 s, at least 0.5 s",
    (*RESTYLE, "--magic-mix", "1.5"): "--magic-mix: 1.5 must be from 0 to 1",
    (*RESTYLE, "--magic-mix", "1", "--mix-from", ".7"): "--mix-from: 0.7 must be from 0 to below",
    (*RESTYLE, "--magic-mix", "1", "--mix-to", "nan"): "--mix-to: nan must be above 0",
    (*RESTYLE, "--mix-to", "1"): "--mix-to: is a level of --magic-mix; add that",
    (*RESTYLE, "--magic-mix", "1", "--denoising", ".4"): "--denoising: excludes --magic-mix",
    (*BETWEEN, "--steps", "1"): "--steps: 1 must be from 2 to 100 clips",
    (*BETWEEN, "--steps", "0"): "--steps: 0 must be from 2 to 100 clips",
    (*BETWEEN, "--solver-steps", "4"): "--solver-steps: 4 must be from 5 to 150",
    (*BETWEEN, "--crossfade", "nan"): "--crossfade: nan must be from 0 to 1 second",
    (*BETWEEN, "--prompt-b", "(a:101)"): "--prompt-b: ",
    (*BETWEEN, "--prompt", "(a:101)", "--prompt-b", ""): "--prompt: ",
    ("between", "tone.wav", "none.wav"): "does not exist",
    ("between", "tone.wav", "SHORT"): "0.050 s, at least 0.5 s",
    (*VARY, "--amount", "1.01"): "--amount: 1.01 must be from 0 to 1",
    (*VARY, "--amount", "nan"): "--amount: nan must be from 0 to 1",
    (*VARY, "--count", "0"): "--count: 0 must be from 1 to 100",
    (*VARY, "--solver-steps", "0"): "--solver-steps: 0 must be from 5 to 150",
    (*VARY, "--prompt", "(a:101)"): "--prompt: ",
    ("vary", "short.wav"): "0.050 s, at least 0.5 s",
    ("difference", "tone.wav", "SHORT"): "after: the recordings have 24000 and 400 samples",
    (*EXTEND, "--after", "0"): "--after: is 0, and so is --before",
    (*EXTEND, "--before", "601"): "--before: 601 must be from 0 to 600",
    (*EXTEND, "--tempo", "nan"): "--tempo: nan must be from 30 to 300",
    EXTEND: "no onsets, so it has no tempo; name its tempo if you know it",
    ("extend", "short.wav", "bells", "--tempo", "120"): "0.050 s, at least 0.5 s",
}


@pytest.mark.parametrize("words", REFUSED)
def test_refused_before_a_checkpoint_is_loaded(
    words: tuple[str, ...], folder: Path, run: Run
) -> None:
    before = sorted(folder.iterdir())
    names = {"TONE": folder / "tone.wav", "SHORT": folder / "short.wav"}
    command, song, *rest = (names.get(word, word) for word in words)
    result = run(command, folder / song, "-o", folder / "out.wav", *rest)
    assert result.code == 2
    assert len(result.err.splitlines()) == 1, result.err
    assert result.err.startswith("error: ")
    assert REFUSED[words] in result.err
    assert "seed" not in result.out  # it is printed once all that is given has been checked
    assert sorted(folder.iterdir()) == before
    assert (folder / "out.wav").read_bytes() == b"before"


def test_a_given_tempo_stands_in_for_a_beat_that_is_not_found(folder: Path, run: Run) -> None:
    words = (folder / "tone.wav", "bells", "--tempo", "120", "-o", folder / "out.wav")
    result = run("extend", *words)
    assert "tempo       120.00 bpm as given, four beats per bar" in result.out
    assert "\nseed        " in result.out
    assert "would be loaded" in result.err
    loop = run("loop", folder / "tone.wav", "--from-tempo", "120", "-o", folder / "out.wav")
    assert loop.code == 2
    assert loop.err.endswith("no onsets, so it has no tempo; use another recording\n")
