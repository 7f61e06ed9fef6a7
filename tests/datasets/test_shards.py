"""Sharded data sets: bytes, round trip, and what is refused."""

import hashlib
import io
import json
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch

from riffusion.cli import main
from riffusion.datasets import shard_folder, shard_writer
from riffusion.datasets.folder import SPLITS, DatasetFolder, write_metadata
from riffusion.datasets.latent_files import read_latent_files, write_latent_files
from riffusion.datasets.shard_folder import ShardedFolder, is_sharded, open_dataset
from riffusion.datasets.shard_writer import write_shards
from riffusion.datasets.shards import MAX_FILE_BYTES
from riffusion.errors import InputError
from tests.datasets.recordings import contents
from tests.datasets.sharded import pixels

ROWS = 2 * 12


@pytest.fixture
def copy(shards: Path, tmp_path: Path) -> Path:
    """Shards to damage."""
    return Path(shutil.copytree(shards, tmp_path / "copy"))


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
    archive = io.BytesIO()
    np.savez(archive, a=np.zeros(3))
    header = b"\x93NUMPY\x01\x00v\x00{'descr': '|i1', 'fortran_order': False, 'shape': (%d,), }"
    others = (archive.getvalue(), (header % 2**50).ljust(127) + b"\n", b"")
    for content, reason in zip(
        others, ("is no array", "row 0: Unable to alloc", "row 0"), strict=True
    ):
        found._kept["train"].clear()
        with (
            mock.patch.object(shard_folder, "contents_of", return_value=[content] * ROWS),
            pytest.raises(InputError, match=reason),
        ):
            found.latents("train", 0)


def test_a_pattern_chooses_tar_files_for_training(shards: Path) -> None:
    everything = ShardedFolder(str(shards))
    half = ShardedFolder(f"{shards}/train-0000[0-3].tar")
    counts = everything.shard_rows("train")[:4]
    assert half.shard_rows("train") == counts
    assert half.rows("train") == everything.rows("train")[: sum(counts)]
    assert half.rows("validation") == everything.rows("validation")
    assert pixels(half, "train").keys() <= pixels(everything, "train").keys()


def size_and_hash(data: bytes) -> dict[str, int | str]:
    """What the index says of a file."""
    return {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def edit_index(folder: Path, edit: Callable[[dict[str, Any]], None]) -> None:
    """Change what the index says of the split for training."""
    path = folder / "shards.json"
    index = json.loads(path.read_text())
    edit(index["splits"]["train"])
    path.write_text(json.dumps(index))


@pytest.mark.parametrize("name", ["corpus", "corpus/train", "a b"])
def test_other_addresses_are_folders(name: str, tmp_path: Path) -> None:
    assert not is_sharded(str(tmp_path / name))


def test_a_folder_with_the_name_of_a_pattern_is_a_folder(images: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(images, tmp_path / "loops [C minor]")
    assert not is_sharded(str(folder))
    assert open_dataset(folder).rows("train") == DatasetFolder(images).rows("train")


def test_a_command_that_needs_a_folder_says_so(
    shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["dataset", "shard", str(shards), "-o", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert "is a sharded data set, which only `riffusion train` reads; name the" in error
    assert len(error.splitlines()) == 1


@pytest.mark.parametrize(
    ("limit", "message"),
    [
        ("MAX_SHARDS", "--shard-mb: 0.001 gives 8 tar files, more than 7; use a larger size"),
        ("MAX_FILE_BYTES", "--shard-mb: 0.001 gives a tar file of 10240 bytes, more than 7; use"),
    ],
)
def test_sizes_that_give_too_many_or_too_large_files_are_refused(
    limit: str,
    message: str,
    images: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(shard_writer, limit, 7)
    arguments = ["dataset", "shard", str(images), "-o", str(tmp_path / "out")]
    assert main([*arguments, "--shard-mb", "0.001"]) == 2
    assert message in capsys.readouterr().err


def damage_index(folder: Path, change: str) -> None:
    path = folder / "shards.json"
    index = json.loads(path.read_text())
    if change == "format":
        index["format"] = 2
    elif change == "path":
        index["splits"]["train"]["shards"][0]["file"] = "../train-00000.tar"
    elif change == "size":
        index["splits"]["train"]["shards"][0]["bytes"] = MAX_FILE_BYTES + 1
    elif change == "rows":
        index["splits"]["train"]["shards"][0]["rows"] += 1
    path.write_text("{" if change == "json" else json.dumps(index))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("json", "not JSON"),
        ("format", "format: "),
        ("path", "file: "),
        ("size", "bytes: "),
        ("rows", "rows instead of"),
    ],
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


def tar_member(name: str, change: str) -> bytes:
    """A member of a tar file that isn't a file of its own; a sparse one says to have 1 TiB."""
    member = tarfile.TarInfo(name)
    if change == "other rows":
        return member.tobuf(tarfile.GNU_FORMAT)
    if change == "link":
        member.type, member.linkname = tarfile.LNKTYPE, "00000000.json"
        return member.tobuf(tarfile.GNU_FORMAT)
    member.type = tarfile.GNUTYPE_SPARSE
    header = bytearray(member.tobuf(tarfile.GNU_FORMAT))
    header[483:495] = b"%011o\0" % 2**33
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header)


@pytest.mark.parametrize("change", ["other rows", "link", "sparse"])
def test_a_tar_file_of_others_is_refused(copy: Path, change: str) -> None:
    """Its hash is right, but not its rows: the index was written for another one, or by others."""
    first = 99 if change == "other rows" else 0
    names = [f"{number:08}.png" for number in range(first, first + 3)]
    text = tarfile.TarInfo("00000000.json").tobuf(tarfile.GNU_FORMAT)
    data = text + b"".join(tar_member(name, change) for name in names) + bytes(1024)
    (copy / "train-00000.tar").write_bytes(data)
    edit_index(copy, lambda train: train["shards"][0].update(size_and_hash(data)))
    with pytest.raises(InputError, match=r"it does not hold the rows 0 to 2"):
        pixels(ShardedFolder(str(copy)), "train")


def test_metadata_that_is_no_text_is_refused(copy: Path) -> None:
    path = copy / "train/metadata.jsonl"
    path.write_bytes(path.read_bytes()[:-1] + b"\xff\n")
    found = size_and_hash(path.read_bytes())
    edit_index(copy, lambda train: train.update({f"metadata_{n}": v for n, v in found.items()}))
    with pytest.raises(InputError, match=r"metadata.jsonl' cannot be read \('utf-8' codec"):
        ShardedFolder(str(copy))


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"[]", "must be a JSON object"), (b'{"sample_rate": 0}', "sample_rate"), (b"{", "not JSON")],
)
def test_params_that_are_none_are_refused(copy: Path, content: bytes, reason: str) -> None:
    (copy / "spectrogram_params.json").write_bytes(content)
    index = json.loads((copy / "shards.json").read_text())
    index["params_sha256"] = hashlib.sha256(content).hexdigest()
    (copy / "shards.json").write_text(json.dumps(index))
    with pytest.raises(InputError, match=rf"spectrogram_params.json.* {reason}"):
        ShardedFolder(str(copy))


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
