"""Encodings of a data set's audio: from a column, a file, or a CLAP model."""

import hashlib
import json
import resource
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from riffusion.datasets.folder import DatasetFolder
from riffusion.errors import InputError, MediaError
from riffusion.spectrogram.params import SpectrogramParams
from tests.datasets.striped_dataset import make_striped_dataset
from tests.training.audio_conditional.encoded_clips import (
    ENCODINGS,
    NETWORK,
    SIDE,
    WIDTH,
    add_column,
    config_of,
    file_encodings,
)
from tests.training.recipe_runs import new_recipe, train


def copy_of(dataset: Path, directory: Path, value_of: Any) -> Path:
    """A small data set with a column `bad`."""
    make_striped_dataset(directory, rows_per_label=2, side=SIDE)
    add_column(directory, "bad", value_of)
    return directory


@pytest.mark.parametrize(
    ("value_of", "message"),
    [
        (lambda label, n: 1.0, r"encoder.column='bad' of 'tone_0.png' is 1.0; a list of numbers"),
        (lambda label, n: "x", r"encoder.column='bad' of 'tone_0.png' is 'x'; a list of numbers"),
        (lambda label, n: [[1, 2], [3]], r"'bad' of 'tone_0.png' is \[\[1, 2\], \[3\]\]; a list"),
        (lambda label, n: [], r"'tone_0.png' has an encoding of shape \(0,\), .* and not be empty"),
        (lambda label, n: [1.0] * (1 + n), r"'beat_0.png' has an encoding of shape \(2,\), the f"),
        (
            lambda label, n: [[[1.0]]],
            r"shape \(1, 1, 1\), .*; all must have .*, \(width,\) or \(to",
        ),
        (lambda label, n: [float("nan")], r"the encoding of 'tone_0.png' is not finite; compute"),
    ],
    ids=["number", "text", "ragged", "empty", "unequal", "deep", "nan"],
)
def test_a_bad_column_is_named(dataset: Path, tmp_path: Path, value_of: Any, message: str) -> None:
    bad = copy_of(dataset, tmp_path / "bad", value_of)
    with pytest.raises(InputError, match=message) as caught:
        new_recipe(config_of(bad, tmp_path / "run", {"column": "bad"}), tmp_path)
    assert "\n" not in str(caught.value)


def test_a_missing_column_is_named(dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"encoder.column='loudness' of 'tone_0.png' is None"):
        new_recipe(config_of(dataset, tmp_path / "run", {"column": "loudness"}), tmp_path)


def test_a_bad_file_is_named(dataset: Path, tmp_path: Path) -> None:
    path = tmp_path / "bad.safetensors"
    config = config_of(dataset, tmp_path / "run", {"file": str(path)})
    with pytest.raises(InputError, match=r"bad\.safetensors"):
        new_recipe(config, tmp_path)
    path.write_bytes(b"not safetensors at all")
    with pytest.raises(InputError, match=r"is not safetensors .*; write it with safetensors\.tor"):
        new_recipe(config, tmp_path)
    encodings = file_encodings(dataset)
    del encodings["train/beat_3.png"]
    save_file(encodings, path)
    with pytest.raises(
        InputError, match=r"has no tensor 'train/beat_3.png' among its 47; every image needs one"
    ):
        new_recipe(config, tmp_path)


@pytest.fixture
def clap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that looks like a CLAP model, with a stand-in for the model itself.

    Its embedding of a clip is the label's encoding, scaled to norm 1, as CLAP's embeddings are.
    """
    folder = tmp_path / "clap"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"projection_dim": WIDTH}))
    (folder / "model.safetensors").write_bytes(b"weights")

    class Embedder:
        num_clips = 0

        def __init__(self, directory: Path, params: SpectrogramParams) -> None:
            assert (directory, params.num_frequencies) == (folder, SIDE)

        def embed(self, planes: list[np.ndarray]) -> np.ndarray:
            Embedder.num_clips += len(planes)
            labels = ["tone" if np.ptp(plane, axis=-1).max() == 0 else "beat" for plane in planes]
            return np.array([ENCODINGS[label] for label in labels]) / 2

    monkeypatch.setattr("riffusion.evaluation.metrics.clap.ClapEmbedder", Embedder)
    return folder


def test_clap_encodes_each_clip_once_at_unit_mean_square(
    dataset: Path, tmp_path: Path, clap: Path
) -> None:
    from riffusion.evaluation.metrics import clap as module

    config = config_of(dataset, tmp_path / "run", {"clap": str(clap)}, steps=2)
    recipe = new_recipe(config, tmp_path)
    rows = DatasetFolder(dataset).rows("train")
    for _ in range(2):  # the second time from the cache
        examples = recipe.examples("train", tmp_path / "cache")
        for number, row in enumerate(rows):
            expected = torch.tensor([ENCODINGS[row.label]])  # norm 2, the root of the width
            assert torch.equal(examples[number, number]["encoding"], expected)
    assert module.ClapEmbedder.num_clips == len(rows)  # type: ignore[attr-defined] # the stand-in

    (clap / "model.safetensors").write_bytes(b"other weights")
    recipe.examples("train", tmp_path / "cache")
    assert module.ClapEmbedder.num_clips == 2 * len(rows)  # type: ignore[attr-defined]

    _, folder = train(config, tmp_path)
    described = json.loads((folder / "encodings.json").read_text())
    sha256 = hashlib.sha256(b"other weights").hexdigest()
    expected_description = {"tokens": 1, "width": WIDTH, "from": "clap", "model": "clap"}
    assert described.items() >= (expected_description | {"sha256": sha256}).items()


def test_a_cache_that_cannot_be_written_is_named(dataset: Path, tmp_path: Path, clap: Path) -> None:
    recipe = new_recipe(config_of(dataset, tmp_path / "run", {"clap": str(clap)}), tmp_path)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (16, limits[1]))
    try:
        with pytest.raises(InputError, match=r"cache='.*' cannot be written .*; make room there"):
            recipe.examples("train", tmp_path / "cache")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list((tmp_path / "cache").iterdir()) == []


@pytest.mark.parametrize("encoder", [{"clap": "CLAP"}, {"network": NETWORK}])
def test_an_image_that_is_missing_is_named(
    tmp_path: Path, clap: Path, encoder: dict[str, Any]
) -> None:
    directory = make_striped_dataset(tmp_path / "stripes", rows_per_label=2, side=SIDE)
    (directory / "train/beat_1.png").unlink()
    encoder = {"clap": str(clap)} if "clap" in encoder else encoder
    recipe = new_recipe(config_of(directory, tmp_path / "run", encoder), tmp_path)
    with pytest.raises((InputError, MediaError), match=r"beat_1\.png"):
        recipe.examples("train", tmp_path / "cache")


def test_splits_of_different_shapes_are_named(dataset: Path, tmp_path: Path) -> None:
    path = tmp_path / "mixed.safetensors"
    encodings = file_encodings(dataset)
    for name in [name for name in encodings if name.startswith("validation/")]:
        encodings[name] = torch.ones(3, WIDTH)
    save_file(encodings, path)
    recipe = new_recipe(config_of(dataset, tmp_path / "run", {"file": str(path)}), tmp_path)
    recipe.examples("train", tmp_path / "cache")
    with pytest.raises(
        InputError, match=r"validation encodings have shape \(3, 4\), those of train have \(2"
    ):
        recipe.examples("validation", tmp_path / "cache")
