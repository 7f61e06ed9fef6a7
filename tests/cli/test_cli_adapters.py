"""`--lora` and `--embedding` with a tiny checkpoint: what they change, and what they refuse."""

import copy
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from riffusion.errors import CheckpointError
from riffusion.generation.generator import ClipGenerator
from riffusion.io.images import read_image
from riffusion.spectrogram.image import DEFAULT_MAX_VALUE
from riffusion.spectrogram.params import SpectrogramParams
from tests.checkpoint.checkpoints import HIDDEN_SIZE, TinyModel, write_folder
from tests.checkpoint.loras import recorded_weights, tiny_lora, write_diffusers, write_kohya
from tests.cli.conftest import Run, WriteRecording

PARAMS = SpectrogramParams(
    num_frequencies=32, sample_rate=8000, max_frequency=4000, num_griffin_lim_iters=4
)
"""Small, so quick."""


@pytest.fixture(scope="module")
def files(model: TinyModel, pristine: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a checkpoint, LoRAs, a word, an image, and files that are none of these."""
    folder = tmp_path_factory.mktemp("adapters")
    shutil.copytree(pristine, folder / "checkpoint")
    PARAMS.save(folder / "checkpoint")
    lora = tiny_lora(model)
    write_kohya(lora, folder).rename(folder / "bells.safetensors")
    write_diffusers(lora, folder / "a:b")
    save_file({"unet.conv_in.lora_A.weight": torch.zeros(2, 768)}, folder / "other.safetensors")
    save_file({"sitar": torch.randn(HIDDEN_SIZE)}, folder / "sitar.safetensors")
    (folder / "text.safetensors").write_text("Not found")
    save_file({}, folder / "empty.safetensors")
    track = b"\0\x90\x3c\x40\x83\x60\x80\x3c\0\0\xff\x2f\0"  # a note of half a second
    header = b"MThd\0\0\0\6\0\0\0\1\1\xe0MTrk\0\0\0"
    (folder / "note.mid").write_bytes(header + bytes([len(track)]) + track)
    pixels = np.random.default_rng(0).integers(0, 256, (32, 64), dtype=np.uint8)
    image = Image.fromarray(pixels)
    image.getexif().update(PARAMS.to_exif(max_value=DEFAULT_MAX_VALUE))
    image.save(folder / "loop.png", exif=image.getexif())
    return folder


def picture(run: Run, files: Path, tmp_path: Path, *options: object) -> np.ndarray[Any, Any]:
    """The image of a clip that `generate` makes."""
    given = (
        options if "--checkpoint" in options else (*options, "--checkpoint", files / "checkpoint")
    )
    result = run(
        "generate", "sitar", "-o", tmp_path / "a.wav", "--image", tmp_path / "a.png", "--seed", 7,
        "--steps", 2, "--duration", 0.64, "--device", "cpu", *given,
    )  # fmt: skip
    assert result.code == 0, result.err
    return np.asarray(read_image(tmp_path / "a.png")).astype(int)


def test_generate_equals_a_checkpoint_with_the_lora_merged(
    run: Run, files: Path, tmp_path: Path, model: TinyModel
) -> None:
    merged = copy.deepcopy(model)
    tiny_lora(model).merge_into(merged, 0.7)
    PARAMS.save(write_folder(merged, tmp_path / "merged"))
    expected = picture(run, files, tmp_path, "--checkpoint", tmp_path / "merged")
    plain = picture(run, files, tmp_path)
    two = ("--lora", f"{files / 'bells.safetensors'}:0.3", "--lora", f"{files / 'a:b'}:0.4")
    changed = picture(run, files, tmp_path, *two)
    assert abs(changed - expected).max() <= 1  # rounding to 8 bits
    assert abs(changed - plain).max() > 1


def commands(files: Path, song: Path) -> dict[str, Sequence[object]]:
    loop = ("--init-image", files / "loop.png")
    return {
        "interpolate": ("interpolate", "piano", "bells", "--steps-between", 2, *loop),
        "jam": ("jam", "piano", "--minutes", 0.64 / 60, *loop),
        "restyle": ("restyle", song, "bells"),
        "repaint": ("repaint", song, "bells", "--from", 0.2, "--to", 0.8),
        "extend": ("extend", song, "bells", "--after", 0.5, "--tempo", 300),
        "follow": ("follow", files / "note.mid", "bells", "--denoising", 0.5),
        "remix": ("remix", song, "--restyle", "harmonic=bells"),
    }


@pytest.mark.parametrize(
    "name", ["interpolate", "jam", "restyle", "repaint", "extend", "follow", "remix"]
)
def test_every_command_that_draws_uses_them(
    name: str,
    run: Run,
    files: Path,
    tmp_path: Path,
    write_recording: WriteRecording,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    used = recorded_weights(monkeypatch)
    song = write_recording("song.wav", rate=8000)
    result = run(
        *commands(files, song)[name], "-o", tmp_path / "out.wav", "--steps", 1, "--device", "cpu",
        "--checkpoint", files / "checkpoint", "--lora", f"{files / 'bells.safetensors'}:-0.5",
        "--embedding", files / "sitar.safetensors",
    )  # fmt: skip
    assert result.code == 0, result.err
    assert set(used) == {(-0.5,)}
    assert "new word    sitar" in result.out
    assert "bells.safetensors (-0.5)" in result.out


REFUSED = {
    ("--lora", "none.safetensors"): "--lora: 'none.safetensors' does not exist; name a LoRA's",
    ("--lora", "none.safetensors:0.5"): "--lora: 'none.safetensors' does not exist",
    ("--lora", "bells.safetensors:much"): "--lora: 'much' in 'bells.safetensors:much' must be a",
    ("--lora", "bells.safetensors:nan"): "--lora: 'nan' in 'bells.safetensors:nan' must be a fin",
    ("--lora", "bells.safetensors:11"): "--lora: ",
    ("--lora", "text.safetensors"): "--lora: text.safetensors (9 bytes) is truncated or not a saf",
    ("--lora", "checkpoint"): "--lora: 'checkpoint' has no adapter_model.safetensors",
    ("--lora", "empty.safetensors"): "--lora: empty.safetensors is empty; name a LoRA's file",
    ("--lora", "sitar.safetensors"): "--lora: sitar.safetensors holds no LoRA, but sitar; name a",
    ("--embedding", "none.pt"): "--embedding: 'none.pt' is no file; name a textual inversion's",
    (
        "--embedding",
        "other.safetensors",
    ): "--embedding: other.safetensors is no textual inversion, it holds",
    ("--embedding", "text.safetensors"): "--embedding: text.safetensors (9 bytes) is truncated",
}


@pytest.mark.parametrize("options", REFUSED, ids=" ".join)
@pytest.mark.parametrize("name", ["generate", "restyle"])
def test_refused_before_a_checkpoint_is_loaded(
    name: str,
    options: tuple[str, ...],
    run: Run,
    files: Path,
    write_recording: WriteRecording,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def no_checkpoint(*_: object, **__: object) -> None:
        raise CheckpointError("would be loaded")

    song = write_recording("song.wav", rate=8000)
    monkeypatch.chdir(files)
    monkeypatch.setattr("riffusion.generation.generator.ClipGenerator.load", no_checkpoint)
    words = ("piano",) if name == "generate" else (song, "piano")
    result = run(name, *words, "-o", song.parent / "out.wav", *options)
    assert result.code == 2
    assert len(result.err.splitlines()) == 1, result.err
    assert REFUSED[options] in result.err


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--lora", "other.safetensors"), "--lora: other.safetensors: unet.conv_in lacks one of"),
        (("--lora", "bells.safetensors", "--lora", "bells.safetensors"), "--lora: 'bells.saf"),
    ],
)
def test_refused_before_the_work(
    options: tuple[str, ...],
    expected: str,
    run: Run,
    files: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(files)
    result = run("generate", "x", "-o", tmp_path / "a.wav", "--checkpoint", "checkpoint", *options)
    assert result.code == 2
    assert len(result.err.splitlines()) == 1, result.err
    assert expected in result.err
    assert not (tmp_path / "a.wav").exists()


def test_jobs_of_a_batch_share_a_checkpoint_whatever_their_loras(
    run: Run, files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is loaded once, and once more for another word; every generator is closed."""
    opened: list[ClipGenerator] = []
    closed: list[ClipGenerator] = []
    load, close = ClipGenerator.load, ClipGenerator.close

    def loaded(*options: Any, **named: Any) -> ClipGenerator:
        opened.append(load(*options, **named))
        return opened[-1]

    def closing(self: ClipGenerator) -> None:
        closed.append(self)
        close(self)

    monkeypatch.setattr(ClipGenerator, "load", loaded)
    monkeypatch.setattr(ClipGenerator, "close", closing)
    shared = {"prompt": "sitar", "seed": 7, "steps": 2, "duration": 0.64, "image": "a.png"}
    bells, word = str(files / "bells.safetensors"), str(files / "sitar.safetensors")
    jobs: list[dict[str, Any]] = [
        {"lora": f"{bells}:0.7"}, {}, {"lora": [str(files / "other.safetensors")]},
        {"lora": [f"{bells}:0.3", f"{files / 'a:b'}:0.4"]},
        {"embedding": [word]}, {"embedding": [word, word]},
    ]  # fmt: skip
    shared |= {"checkpoint": str(files / "checkpoint"), "device": "cpu"}
    (tmp_path / "jobs.json").write_text(json.dumps({"defaults": shared, "jobs": jobs}))
    result = run("batch", tmp_path / "jobs.json", "-o", tmp_path / "out")
    assert result.code == 2
    assert "failed: job 3: --lora: " in result.err
    assert "failed: job 6: --embedding: " in result.err
    assert "2 of 6 jobs failed" in result.err
    assert len(opened) == len(closed) == 3
    first, second, fourth = (
        np.asarray(read_image(tmp_path / "out" / f"a{number}.png")).astype(int)
        for number in ("", "-2", "-4")
    )
    assert abs(first - fourth).max() <= 1
    assert abs(first - second).max() > 1
