"""Sharded data sets: bytes, round trip, what is refused, and reading over HTTP."""

import io
import json
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from riffusion.cli import main
from riffusion.datasets import shard_folder
from riffusion.datasets.folder import SPLITS, DatasetFolder, Split, write_metadata
from riffusion.datasets.latent_files import read_latent_files, write_latent_files
from riffusion.datasets.shard_folder import ShardedFolder, is_sharded, open_dataset
from riffusion.datasets.shard_writer import write_shards
from riffusion.errors import InputError
from tests.datasets.file_server import serve_files
from tests.datasets.recordings import contents
from tests.datasets.striped_dataset import make_striped_dataset

SHARD_BYTES = 400
ROWS = 2 * 12


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_striped_dataset(tmp_path_factory.mktemp("data") / "images")


@pytest.fixture(scope="module")
def shards(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("data") / "shards"
    write_shards(DatasetFolder(images), directory, SHARD_BYTES)
    return directory


@pytest.fixture
def copy(shards: Path, tmp_path: Path) -> Path:
    """Shards to damage."""
    return Path(shutil.copytree(shards, tmp_path / "copy"))


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shard_folder, "_FIRST_PAUSE_S", 0.0)


def pixels(folder: DatasetFolder, split: Split) -> dict[str, tuple[str, np.ndarray]]:
    """Caption and image of each row, by the image's name."""
    return {
        row.file_name: (row.text, np.asarray(folder.read_image(split, row)))
        for row in folder.rows(split)
    }


def test_shards_hold_each_row_once_as_it_was(images: Path, shards: Path) -> None:
    before, after = DatasetFolder(images), open_dataset(shards)
    assert isinstance(after, ShardedFolder)
    assert after.params == before.params
    for split in SPLITS:
        expected, found = pixels(before, split), pixels(after, split)
        assert [row.file_name for row in after.rows(split)] != list(expected)  # in random order
        assert found.keys() == expected.keys()
        for name, (text, image) in expected.items():
            assert found[name][0] == text
            np.testing.assert_array_equal(found[name][1], image)
        counts = after.shard_rows(split)
        assert len(counts) % 8 == 0
        assert max(counts) - min(counts) <= 1


def test_the_command_writes_the_same_bytes_twice(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = tmp_path / "first"
    for out in (first, first, tmp_path / "second"):  # the first folder is written again
        arguments = ["dataset", "shard", str(images), "-o", str(out), "--shard-mb", "0.01"]
        assert main(arguments) == 0
    assert contents(first) == contents(tmp_path / "second")
    line = capsys.readouterr().out.splitlines()[0]
    assert line.startswith(f"Wrote {first} (24 clips for training in 8 files, 24 clips for va")
    assert main([*arguments, "--seed", "1"]) == 2
    assert "seed: 0 then, 1 now" in capsys.readouterr().err


def test_the_datasets_library_reads_the_tar_files(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    import datasets

    found = datasets.load_dataset(
        "webdataset",
        data_files={"train": str(shards / "train-*.tar")},
        split="train",
        streaming=True,
        cache_dir=str(tmp_path),
    )
    folder = ShardedFolder(str(shards))
    rows = list(found)
    assert [row["json"]["file_name"] for row in rows] == [
        row.file_name for row in folder.rows("train")
    ]
    expected = folder.read_image("train", folder.rows("train")[0])
    np.testing.assert_array_equal(np.asarray(rows[0]["png"]), np.asarray(expected))


def test_latents_are_those_of_the_folder(images: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(images, tmp_path / "latents"))
    for split in SPLITS:
        rows = DatasetFolder(images).rows(split)
        shutil.rmtree(folder / split)
        write_metadata(folder, split, rows)
        latents = torch.randn(ROWS, 4, 8, 8, generator=torch.Generator().manual_seed(1))
        write_latent_files(folder / split, latents, 8, (32, 32), "0123456789abcdef")
    write_shards(DatasetFolder(folder), tmp_path / "shards", 1000)
    found = ShardedFolder(str(tmp_path / "shards"))
    _, expected = read_latent_files(folder / "train")
    numbers = {row.file_name: n for n, row in enumerate(DatasetFolder(folder).rows("train"))}
    for number, row in enumerate(found.rows("train")):
        latents = found.latents("train", number)
        assert torch.equal(latents, expected[numbers[row.file_name]].float())
    assert found.image_size() == (32, 32)
    with pytest.raises(InputError, match="holds latents instead of image"):
        found.read_image("train", found.rows("train")[0])


def test_a_pattern_chooses_tar_files_for_training(shards: Path) -> None:
    everything = ShardedFolder(str(shards))
    half = ShardedFolder(f"{shards}/train-0000[0-3].tar")
    counts = everything.shard_rows("train")[:4]
    assert half.shard_rows("train") == counts
    assert half.rows("train") == everything.rows("train")[: sum(counts)]
    assert half.rows("validation") == everything.rows("validation")
    assert pixels(half, "train").keys() <= pixels(everything, "train").keys()


@pytest.mark.parametrize("name", ["corpus", "corpus/train", "a b"])
def test_other_addresses_are_folders(name: str, tmp_path: Path) -> None:
    assert not is_sharded(str(tmp_path / name))


def damage_index(folder: Path, change: str) -> None:
    path = folder / "shards.json"
    index = json.loads(path.read_text())
    if change == "format":
        index["format"] = 2
    elif change == "path":
        index["splits"]["train"]["shards"][0]["file"] = "../train-00000.tar"
    elif change == "rows":
        index["splits"]["train"]["shards"][0]["rows"] += 1
    path.write_text("{" if change == "json" else json.dumps(index))


@pytest.mark.parametrize(
    ("change", "reason"),
    [("json", "not JSON"), ("format", "format: "), ("path", "file: "), ("rows", "rows instead of")],
)
def test_a_damaged_index_is_refused(copy: Path, change: str, reason: str) -> None:
    damage_index(copy, change)
    with pytest.raises(InputError, match=rf"cannot be read \(.*{reason}") as caught:
        ShardedFolder(str(copy))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("change", ["cut off", "one bit", "missing", "metadata"])
def test_a_damaged_shard_is_named(copy: Path, change: str) -> None:
    path = copy / "train-00002.tar"
    data = bytearray(path.read_bytes())
    expected = rf"shard='{path}' cannot be read"
    if change == "cut off":
        path.write_bytes(data[:-512])
        expected += rf" \(it has {len(data) - 512} bytes instead of {len(data)}\); copy it again"
    elif change == "one bit":
        data[700] ^= 1
        path.write_bytes(data)
        expected += r" \(its SHA-256 is not that of shards.json\); copy it again"
    elif change == "missing":
        path.unlink()
        expected += r" \(No such file or directory\)"
    else:
        (copy / "train/metadata.jsonl").write_text("")
        expected = r"metadata.jsonl' cannot be read \(its SHA-256"
    with pytest.raises(InputError, match=expected):
        pixels(ShardedFolder(str(copy)), "train")


def test_a_tar_file_of_others_is_refused(copy: Path) -> None:
    """Its hash is right, but not its rows: the index was written for another one."""
    path, index_path = copy / "train-00000.tar", copy / "shards.json"
    with tarfile.open(path, "w") as tar:
        member = tarfile.TarInfo("00000099.png")
        tar.addfile(member, io.BytesIO())
    import hashlib

    data, index = path.read_bytes(), json.loads(index_path.read_text())
    index["splits"]["train"]["shards"][0] |= {
        "bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
    }
    index_path.write_text(json.dumps(index))
    with pytest.raises(InputError, match=r"it does not hold the rows 0 to 2"):
        pixels(ShardedFolder(str(copy)), "train")


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("{}/train-9*.tar", "matches none of the 8 tar files for training; the first is train-0"),
        ("{}/no/*.tar", "no/shards.json' cannot be read (No such file or directory)"),
        ("gibberish://{}", "cannot be read: Protocol not known"),
    ],
)
def test_an_address_without_shards_is_refused(address: str, message: str, shards: Path) -> None:
    with pytest.raises(InputError) as caught:
        ShardedFolder(address.replace("{}", str(shards)))
    assert message in str(caught.value)


def test_over_http_each_tar_file_is_read_once(shards: Path, impatient: None) -> None:
    local = pixels(ShardedFolder(str(shards)), "train")
    with serve_files(shards) as server:
        server.breaks["train-00003.tar"] = 2  # then it is read as a whole
        folder = ShardedFolder(server.url)
        found = pixels(folder, "train")
        assert server.reads["train-00003.tar"] == 3
        names = [f"train-{number:05}.tar" for number in (0, 1, 2, 4, 5, 6, 7)]
        assert [server.reads[name] for name in names] == [1] * 7
    assert found.keys() == local.keys()
    for name, (text, image) in local.items():
        assert found[name][0] == text
        np.testing.assert_array_equal(found[name][1], image)


def test_a_url_that_breaks_off_or_is_not_there(shards: Path, impatient: None) -> None:
    with serve_files(shards) as server:
        with pytest.raises(InputError, match=r"/no/shards.json' does not exist; check the address"):
            ShardedFolder(f"{server.url}/no")
        folder = ShardedFolder(f"{server.url}/")
        server.breaks["train-00000.tar"] = shard_folder.ATTEMPTS
        with pytest.raises(
            InputError, match=r"train-00000.tar' .* tried 4 times\); check the conn"
        ):
            folder.read_image("train", folder.rows("train")[0])
        assert isinstance(folder.read_image("train", folder.rows("train")[0]), Image.Image)
    with pytest.raises(
        InputError, match=r"shards.json' cannot be read \(.*tried 4 times"
    ) as caught:
        ShardedFolder(server.url)
    assert "\n" not in str(caught.value)
