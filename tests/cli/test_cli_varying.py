"""between, vary and difference with a tiny checkpoint: the files and lines that they write."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from riffusion.audio import Recording
from riffusion.spectrogram.params import SpectrogramParams
from tests.checkpoint.checkpoints import HIDDEN_SIZE, TinyModel
from tests.checkpoint.loras import recorded_weights, tiny_lora, write_kohya
from tests.cli.conftest import Run, WriteRecording

PARAMS = SpectrogramParams(
    num_frequencies=16, step_size_ms=160, window_duration_ms=400, padded_duration_ms=400
)
"""A clip is 32 frames of 16 bands."""
CLOSENESS = r"comes back within \d+\.\d\d of 255 grey levels, \d+\.\d\d of them the autoencoder's"


@pytest.fixture(scope="module")
def tiny(pristine: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    shutil.copytree(pristine, folder, dirs_exist_ok=True)
    PARAMS.save(folder)
    return folder


def num_samples(path: Path) -> int:
    with Recording.open(path) as recording:
        return recording.num_samples


def test_between_writes_the_piece_and_its_clips(
    tiny: Path, write_recording: WriteRecording, run: Run, tmp_path: Path
) -> None:
    first = write_recording("a.wav", duration_s=0.7, rate=22_050, channels=2)
    last = write_recording("b.wav", duration_s=0.9)
    result = run(
        "between", first, last, "-o", tmp_path / "piece.wav", "--clips-dir", tmp_path / "clips",
        "--steps", 3, "--solver-steps", 5, "--checkpoint", tiny, "--device", "cpu",
    )  # fmt: skip
    assert result.code == 0, result.err
    assert "length      0.70 s: that of the shorter recording" in result.out
    assert re.search(rf"first       {CLOSENESS}", result.out)
    assert re.search(rf"last        {CLOSENESS}", result.out)
    clips = sorted((tmp_path / "clips").iterdir())
    names = ["clip_000_alpha_0.000.wav", "clip_001_alpha_0.500.wav", "clip_002_alpha_1.000.wav"]
    assert [path.name for path in clips] == names
    length = num_samples(first)
    assert [num_samples(path) for path in clips] == [length] * 3
    assert num_samples(tmp_path / "piece.wav") == 3 * length


def test_variations_and_what_they_changed(
    tiny: Path, write_recording: WriteRecording, run: Run, tmp_path: Path
) -> None:
    # Quiet, so that no difference clips.
    song = write_recording("song.wav", duration_s=0.6, rate=22_050, peak=0.01)
    result = run(
        "vary", song, "-o", tmp_path / "out.flac", "--count", 2, "--seed", 7, "--amount", 0.3,
        "--solver-steps", 5, "--checkpoint", tiny, "--device", "cpu",
    )  # fmt: skip
    assert result.code == 0, result.err
    assert re.search(rf"recording   {CLOSENESS}", result.out)
    paths = [tmp_path / f"out-{seed}.flac" for seed in (7, 8)]
    assert [num_samples(path) for path in paths] == [num_samples(song)] * 2
    found = run("difference", *paths, "-o", tmp_path / "difference.wav")
    assert found.code == 0, found.err
    assert re.search(r"difference  from 0\.\d\d s to 0\.60 s, with a peak of -?\d", found.out)
    with Recording.open(paths[0]) as one, Recording.open(tmp_path / "difference.wav") as change:
        total = one.samples(0, one.num_samples).astype(np.int32)
        total += change.samples(0, change.num_samples)
    with Recording.open(paths[1]) as other:
        assert np.array_equal(total, other.samples(0, other.num_samples))


@pytest.mark.parametrize("name", ["between", "vary"])
def test_loras_and_new_words_are_used(
    name: str,
    tiny: Path,
    model: TinyModel,
    write_recording: WriteRecording,
    run: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    used = recorded_weights(monkeypatch)
    lora = write_kohya(tiny_lora(model), tmp_path / "lora")
    save_file({"sitar": torch.randn(HIDDEN_SIZE)}, tmp_path / "sitar.safetensors")
    song = write_recording("song.wav", duration_s=0.6, rate=22_050)
    words = (song, song, "--steps", 2) if name == "between" else (song, "--count", 1)
    result = run(
        name, *words, "-o", tmp_path / "out.wav", "--prompt", "sitar", "--solver-steps", 5,
        "--lora", f"{lora}:-0.5", "--embedding", tmp_path / "sitar.safetensors",
        "--checkpoint", tiny, "--device", "cpu",
    )  # fmt: skip
    assert result.code == 0, result.err
    assert len(used) > 3
    assert set(used) == {(-0.5,)}
    assert "new word    sitar" in result.out
    assert f"{lora.name} (-0.5)" in result.out


def test_equal_recordings_are_said_to_be_equal(
    write_recording: WriteRecording, run: Run, tmp_path: Path
) -> None:
    song = write_recording("song.wav")
    result = run("difference", song, song, "-o", tmp_path / "out.wav")
    assert "difference  none: the recordings are equal" in result.out
