"""The taggers in torch compute what TensorFlow computes with the same weights."""

import importlib.metadata
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from riffusion.errors import InputError
from riffusion.evaluation.tagger import TAGGERS, Tagger
from riffusion.evaluation.tagger.tagger import DISTRIBUTION, VERSION
from riffusion.evaluation.tagger.tensor_bundle import read_variables

OUTPUTS = json.loads((Path(__file__).parent / "tagger_outputs.json").read_text())
"""Logits and features of `patch`, computed by musicnn 0.1.0 with TensorFlow 2.15."""
SAMPLE_RATE = 44_100


def patch() -> torch.Tensor:
    """A smooth pattern of 187 frames and 96 bands."""
    frames, bands = np.arange(187)[:, None], np.arange(96)[None]
    levels = 2 + np.sin(frames / 5 + bands / 3) + np.cos(frames * bands / 700)
    return torch.from_numpy(levels.astype(np.float32))[None]


def weights_dir() -> Path:
    return Path(str(importlib.metadata.distribution("musicnn").locate_file("musicnn")))


@pytest.mark.parametrize("name", TAGGERS)
def test_outputs_are_those_of_tensorflow(name: str) -> None:
    logits, features = Tagger.load(name).predict(patch())
    assert np.allclose(logits[0], OUTPUTS[name]["logits"], atol=2e-3)
    assert np.allclose(features[0], OUTPUTS[name]["features"], atol=2e-3)


def test_tones_and_noise_are_told_apart() -> None:
    seconds = np.arange(5 * SAMPLE_RATE) / SAMPLE_RATE
    tone = sum(np.sin(2 * np.pi * 440 * k * seconds) / k**2 for k in range(1, 8))
    beats = np.random.default_rng(0).standard_normal(len(seconds)) * np.exp(-(seconds % 0.25) * 40)
    tagger = Tagger.load()
    heard = [tagger.hear(0.3 * x[None].astype(np.float32), SAMPLE_RATE) for x in (tone, beats)]
    of_tone, of_beats = (dict(zip(tagger.tags, each.tags, strict=True)) for each in heard)
    assert of_tone["flute"] > 5 * of_beats["flute"]
    assert of_beats["drums"] + of_beats["beat"] > 5 * (of_tone["drums"] + of_tone["beat"])


def test_short_clips_are_repeated() -> None:
    seconds = np.arange(2 * SAMPLE_RATE) / SAMPLE_RATE
    tone = np.sin(2 * np.pi * 220 * seconds)[None].astype(np.float32) / 2
    tagger = Tagger.load()
    short = tagger.hear(tone, SAMPLE_RATE)
    long = tagger.hear(np.tile(tone, 4), SAMPLE_RATE)
    assert np.abs(short.tags - long.tags).max() < 0.05


def test_unknown_tagger_is_refused() -> None:
    with pytest.raises(InputError, match="'vgg' must be one of magnatagatune, "):
        Tagger.load("vgg")


def test_missing_weights_name_the_remedy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("sys.path", [str(tmp_path)])
    with pytest.raises(InputError, match=r"pip install --no-deps musicnn==0\.1\.0"):
        Tagger.load()


@pytest.mark.parametrize("name", [".index", ".data-00000-of-00001"])
def test_weights_that_have_changed_are_refused(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A changed number would be heard as another sound, and nobody would notice."""
    installed = importlib.metadata.distribution(DISTRIBUTION)
    for file in installed.files or ():
        if file.parts[:2] == (DISTRIBUTION, "MTT_vgg") or file.parts[0].endswith(".dist-info"):
            (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file.locate(), tmp_path / file)
    monkeypatch.setattr("sys.path", [str(tmp_path)])
    Tagger.load("magnatagatune-vgg")
    path = tmp_path / DISTRIBUTION / "MTT_vgg" / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match=rf"{name}' differs .*; install musicnn==0\.1\.0 again"):
        Tagger.load("magnatagatune-vgg")


def test_the_pinned_weights_are_those_that_messages_name() -> None:
    pins = (Path(__file__).parents[2] / "requirements-tagger.txt").read_text().splitlines()
    (pin,) = [line for line in pins if line and not line.startswith("#")]
    name, digest = pin.split(" --hash=sha256:")
    assert name == f"{DISTRIBUTION}=={VERSION}"
    assert len(digest) == 64


@pytest.mark.parametrize("damage", ["missing", "empty", "cut", "no table", "short data"])
def test_damaged_weights_are_refused(damage: str, tmp_path: Path) -> None:
    index, data = tmp_path / ".index", tmp_path / ".data"
    source = weights_dir() / "MTT_vgg"
    shutil.copy(source / ".index", index)
    shutil.copy(source / ".data-00000-of-00001", data)
    match damage:
        case "missing":
            index.unlink()
        case "empty":
            index.write_bytes(b"")
        case "cut":
            index.write_bytes(index.read_bytes()[100:])
        case "no table":
            index.write_bytes(bytes(1000))
        case "short data":
            data.write_bytes(data.read_bytes()[:1000])
    with pytest.raises(InputError, match="install its distribution again"):
        read_variables(index, data)
