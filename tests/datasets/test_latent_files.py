"""Packed latents in several files: sizes, order, training from them, and what is refused."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from riffusion.datasets.encode import encode_dataset
from riffusion.datasets.folder import LATENTS_INDEX_NAME, LATENTS_NAME, DatasetFolder
from riffusion.datasets.latent_files import read_latent_files, write_latent_files
from riffusion.datasets.latents import LatentExamples
from riffusion.datasets.packed_latents import read_latents, write_latents
from riffusion.errors import InputError
from riffusion.training.config import DataConfig
from tests.datasets.packed import (
    LEVELS,
    SIDE,
    base,
    config_of,
    dataset,
    packed,
    vae_of,
)
from tests.training.recipe_runs import new_recipe, train

__all__ = ["base", "dataset", "packed"]  # fixtures

MAX_BYTES = 20_000
"""Small files: each has a few rows of 1,200 values."""
TRAIN = "train"


def noise(rows: int, seed: int = 0) -> torch.Tensor:
    """Latents that can't be compressed below about five bits per value."""
    return torch.randn(rows, 4, 10, 30, generator=torch.Generator().manual_seed(seed))


def write(directory: Path, latents: torch.Tensor, max_bytes: int = MAX_BYTES) -> float:
    directory.mkdir(exist_ok=True)
    return write_latent_files(directory, latents, LEVELS, (SIDE, SIDE), "encoder", max_bytes)


def in_one_file(directory: Path, latents: torch.Tensor) -> torch.Tensor:
    write_latents(directory / "one.safetensors", latents, LEVELS, (SIDE, SIDE), "encoder")
    return read_latents(directory / "one.safetensors")[1]


def files_of(directory: Path) -> list[Path]:
    return sorted(directory.glob("latents-*.safetensors"))


@settings(max_examples=8, deadline=None)
@example(rows=1500, values=(2, 3, 4), max_bytes=12_000)  # two streams of 256 rows per file
@given(
    rows=st.integers(1, 700),
    values=st.sampled_from([(1, 2, 3), (2, 3, 4), (4, 10, 30)]),
    max_bytes=st.sampled_from([6_000, 12_000, 20_000, 60_000]),
)
def test_files_hold_the_same_rows_as_one_file_and_are_small(
    tmp_path_factory: pytest.TempPathFactory,
    rows: int,
    values: tuple[int, int, int],
    max_bytes: int,
) -> None:
    folder = tmp_path_factory.mktemp("files")
    latents = torch.randn(rows, *values, generator=torch.Generator().manual_seed(rows))
    share = write(folder, latents, max_bytes)
    header, back = read_latent_files(folder)
    assert header.rows == rows
    assert torch.equal(back, in_one_file(folder, latents))
    assert share == float((latents * LEVELS).round().abs().gt(127).float().mean())
    written = [*files_of(folder), *folder.glob(LATENTS_NAME)]
    assert all(path.stat().st_size <= max_bytes for path in written)
    assert (folder / LATENTS_INDEX_NAME).is_file() == (len(written) > 1)


def test_what_fits_into_one_file_is_the_file_of_before(tmp_path: Path) -> None:
    latents = noise(8)
    write(tmp_path, latents)
    assert [path.name for path in tmp_path.iterdir()] == [LATENTS_NAME]
    in_one_file(tmp_path, latents)
    assert (tmp_path / LATENTS_NAME).read_bytes() == (tmp_path / "one.safetensors").read_bytes()


def test_files_of_another_layout_are_removed(tmp_path: Path) -> None:
    write(tmp_path, noise(60))
    several = {path.name for path in tmp_path.iterdir()}
    assert LATENTS_INDEX_NAME in several and len(several) > 3
    write(tmp_path, noise(8))
    assert {path.name for path in tmp_path.iterdir()} == {LATENTS_NAME}
    write(tmp_path, noise(60))
    assert {path.name for path in tmp_path.iterdir()} == several


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-200] ^= 1
    path.write_bytes(data)


def of_other_latents(path: Path) -> None:
    """The file of the same name, rows and size of other latents, as far as it can be."""
    other = path.parent.with_name("other")
    write(other, noise(60, seed=1))
    data = (other / path.name).read_bytes()
    path.write_bytes(data[: path.stat().st_size].ljust(path.stat().st_size, b"\0"))


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (Path.unlink, r"files are missing: latents-00002\.safetensors\)"),
        (cut, r"it has \d+ bytes instead of \d+\)"),
        (flip, r"its SHA-256 \w{12}… is not that of latents\.index\.json\)"),
        (of_other_latents, r"its SHA-256 \w{12}… is not that of latents\.index\.json\)"),
    ],
    ids=["missing", "truncated", "flipped", "foreign"],
)
def test_a_damaged_file_is_named(
    tmp_path: Path, damage: Callable[[Path], None], expected: str
) -> None:
    split = tmp_path / TRAIN
    write(split, noise(60))
    damage(files_of(split)[1])
    with pytest.raises(InputError, match=expected) as caught:
        read_latent_files(split)
    message = str(caught.value)
    assert "latents-00002.safetensors" in message
    assert "\n" not in message and message.endswith("with `riffusion dataset encode`")


def test_all_missing_files_are_counted(tmp_path: Path) -> None:
    write(tmp_path, noise(100))
    files = files_of(tmp_path)
    for path in files[1:6]:
        path.unlink()
    expected = f"5 of {len(files)} files are missing: latents-00002.safetensors, .*, …"
    with pytest.raises(InputError, match=expected):
        read_latent_files(tmp_path)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{", "Expecting property name"),
        ("[]", "not an index of latents"),
        ('{"format": 1, "files": []}', "not an index of latents"),
        ('{"format": 2, "files": FILES}', "format 2 is not supported"),
        ('{"format": 1, "files": [{"file": "../x", "rows": 1, "bytes": 1, "sha256": ""}]}',
         "not an index of latents"),
    ],
)  # fmt: skip
def test_a_damaged_index_is_refused(tmp_path: Path, text: str, expected: str) -> None:
    write(tmp_path, noise(60))
    path = tmp_path / LATENTS_INDEX_NAME
    files = json.dumps(json.loads(path.read_text())["files"])
    path.write_text(text.replace("FILES", files))
    with pytest.raises(InputError, match=expected) as caught:
        read_latent_files(tmp_path)
    assert str(caught.value).startswith(f"latents={str(path)!r} cannot be read (")


@pytest.fixture
def in_files(packed: Path, tmp_path: Path) -> Path:
    """The data set `packed` with its training latents in several files."""
    directory = tmp_path / "files"
    shutil.copytree(packed, directory)
    header, latents = read_latents(directory / TRAIN / LATENTS_NAME)
    write_latent_files(
        directory / TRAIN, latents, header.levels, header.image, header.encoder, max_bytes=5_000
    )
    assert len(files_of(directory / TRAIN)) > 1
    return directory


def test_training_sees_the_same_batches_and_gives_the_same_weights(
    packed: Path, in_files: Path, base: Path, tmp_path: Path
) -> None:
    weights = []
    for source in (packed, in_files):
        config = config_of("text_to_spectrogram", base, source, tmp_path / f"run-{source.name}")
        config["run"]["steps"] = 3
        examples = new_recipe(config, tmp_path).examples("train", tmp_path)
        weights.append((examples[5, 7], train(config, tmp_path)[0].objective.state_dict()))
    (example, trained), (other_example, other_trained) = weights
    assert torch.equal(example["latents"], other_example["latents"])
    assert all(torch.equal(trained[name], other_trained[name]) for name in trained)


def test_a_missing_file_ends_training_before_it_begins(
    in_files: Path, base: Path, tmp_path: Path
) -> None:
    files_of(in_files / TRAIN)[-1].unlink()
    config = config_of("text_to_spectrogram", base, in_files, tmp_path / "run")
    with pytest.raises(InputError, match="files are missing: latents-0000"):
        train(config, tmp_path)
    assert not (tmp_path / "run/checkpoint").exists()


def test_the_command_writes_several_files(
    dataset: Path, base: Path, packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(write_latent_files, "__defaults__", (5_000,))
    encode_dataset(DatasetFolder(dataset), vae_of(base), tmp_path / "l", levels=LEVELS)
    assert len(files_of(tmp_path / "l" / TRAIN)) > 1
    folder = DatasetFolder(tmp_path / "l")
    config = DataConfig(dataset=tmp_path / "l")
    found = LatentExamples(folder, "train", vae_of(base), config, tmp_path).latents
    assert torch.equal(found, read_latents(packed / TRAIN / LATENTS_NAME)[1])
    with pytest.raises(InputError, match="holds latents instead of image"):
        folder.image_path("train", folder.rows("train")[5])
