"""The data-set folder: odd characters, damaged files, simultaneous runs, and replaced folders."""

import json
import shutil
from pathlib import Path

import pytest

from riffusion.datasets.folder import (
    LATENTS_INDEX_NAME,
    LATENTS_NAME,
    DatasetFolder,
    DatasetRow,
    claim_directory,
    sole_writer,
    write_metadata,
)
from riffusion.errors import InputError, MediaError
from riffusion.io.folders import replaced_folder
from riffusion.spectrogram.params import SpectrogramParams
from tests.datasets.striped_dataset import make_striped_dataset


def claim(directory: Path, command: str = "test") -> None:
    claim_directory(directory, command, {"seed": 0}, SpectrogramParams())


def test_rows_with_any_characters_are_read_back(tmp_path: Path) -> None:
    odd = 'line\u2028and page\u0085, tab\t, "quotes", \\ and 鼓'
    row = DatasetRow("a.png", odd, (odd, "b"), ("c", "d"), odd, "beat", odd, {"mood": odd, "n": 1})
    claim(tmp_path / "set")
    write_metadata(tmp_path / "set", "train", [row, row])
    assert DatasetFolder(tmp_path / "set").rows("train") == [row, row]


def test_metadata_that_is_not_text(tmp_path: Path) -> None:
    claim(tmp_path)
    write_metadata(tmp_path, "train", [DatasetRow("a.png", "a")])
    (tmp_path / "train/metadata.jsonl").write_bytes(b'{"file_name": "\xff.png", "text": ""}\n')
    with pytest.raises(InputError, match=r"train/metadata\.jsonl cannot be read .*make the data"):
        DatasetFolder(tmp_path).rows("train")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", r"line 2 is not JSON .*; write one object per line"),
        ("[1]", r"line 2 is not a JSON object; write one with file_name and text"),
        ('{"file_name": "a.png"}', r"line 2 has no 'text'; file_name and text are required"),
        ('{"file_name": null, "text": ""}', r"line 2 has no 'file_name'"),
        ('{"file_name": "a.png", "text": 3}', r"line 2: text=3 must be a string"),
        (
            '{"file_name": "a.png", "text": "", "captions": "b"}',
            r"line 2: captions='b' must be a list of strings",
        ),
        (
            '{"file_name": "a.png", "text": "", "wordings": [1]}',
            r"line 2: wordings=\[1\] must be a list of strings",
        ),
        ('{"file_name": "../a.png", "text": ""}', r"file_name='../a.png' must stay in the folder"),
        ('{"file_name": "/a.png", "text": ""}', r"file_name='/a.png' must stay in the folder"),
    ],
)
def test_a_malformed_row_is_named(tmp_path: Path, line: str, message: str) -> None:
    claim(tmp_path)
    write_metadata(tmp_path, "train", [DatasetRow("a.png", "a")])
    with (tmp_path / "train/metadata.jsonl").open("a") as file:
        file.write(f"{line}\n\n")
    with pytest.raises(InputError, match=message):
        DatasetFolder(tmp_path).rows("train")


def test_unknown_columns_are_kept(tmp_path: Path) -> None:
    claim(tmp_path)
    row = DatasetRow("a.png", "a", extras={"tempo_bpm": 120.0})
    write_metadata(tmp_path, "train", [row])
    assert DatasetFolder(tmp_path).rows("train") == [row]
    assert row.all_captions == ("a",)
    assert DatasetFolder(tmp_path).rows("validation") == []


def test_a_folder_without_metadata_is_not_a_data_set(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"has no train/metadata\.jsonl; make a data set with"):
        DatasetFolder(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", r"dataset\.json is not JSON .*; choose another folder"),
        ("[]", r"command: None then, 'test' now"),
        ('{"format": 0, "command": "test", "options": {"seed": 0}}', "format: 0 then, 1 now"),
        ('{"format": 1, "command": "test", "options": {}}', "seed: None then, 0 now"),
    ],
)
def test_a_folder_with_another_record_is_refused(
    tmp_path: Path, content: str, message: str
) -> None:
    (tmp_path / "dataset.json").write_text(content)
    with pytest.raises(InputError, match=message):
        claim(tmp_path)
    assert (tmp_path / "dataset.json").read_text() == content


def test_a_folder_that_cannot_be_created_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"exists and is not a data set; choose an empty folder"):
        claim(tmp_path / "file")
    with pytest.raises(InputError, match=r"cannot be created \(Not a directory\); make room"):
        claim(tmp_path / "file/set")


def test_a_folder_of_another_command_is_refused(tmp_path: Path) -> None:
    claim(tmp_path)
    with pytest.raises(InputError, match="command: 'test' then, 'other' now"):
        claim(tmp_path, "other")
    assert json.loads((tmp_path / "dataset.json").read_text())["command"] == "test"


@pytest.mark.parametrize("name", [".DS_Store", "Thumbs.db", "desktop.ini", "._set", "lost+found"])
def test_a_folder_that_a_file_manager_opened_can_be_claimed(tmp_path: Path, name: str) -> None:
    """By `dataset build`, `synthesize` and `encode` alike."""
    (tmp_path / name).touch()
    claim(tmp_path)
    claim(tmp_path)
    (tmp_path / "other").mkdir()
    (tmp_path / "other/notes").touch()
    with pytest.raises(InputError, match="exists and is not a data set; choose an empty folder"):
        claim(tmp_path / "other")


def test_files_saved_with_a_byte_order_mark_are_read(tmp_path: Path) -> None:
    claim(tmp_path)
    write_metadata(tmp_path, "train", [DatasetRow("a.png", "a"), DatasetRow("b.png", "b")])
    for name in ("train/metadata.jsonl", "dataset.json"):
        path = tmp_path / name
        path.write_text("\ufeff" + path.read_text(encoding="utf-8"), encoding="utf-8")
    assert [row.text for row in DatasetFolder(tmp_path).rows("train")] == ["a", "b"]
    claim(tmp_path)


def test_the_fingerprint_has_every_byte_of_images(tmp_path: Path) -> None:
    folder = DatasetFolder(make_striped_dataset(tmp_path / "data", rows_per_label=2))
    before = folder.fingerprint()
    copy = DatasetFolder(shutil.copytree(folder.directory, tmp_path / "copy"))
    assert copy.fingerprint() == before
    path = folder.image_path("train", folder.rows("train")[-1])
    path.write_bytes(flipped(path.read_bytes()))
    after = folder.fingerprint()
    assert after["data_sha256"] == before["data_sha256"]
    assert after["files_sha256"] != before["files_sha256"]
    path.unlink()
    with pytest.raises(MediaError, match=r"image=.*cannot be read"):
        folder.fingerprint()


@pytest.mark.parametrize("name", [LATENTS_NAME, LATENTS_INDEX_NAME])
def test_the_fingerprint_has_every_byte_of_latents(tmp_path: Path, name: str) -> None:
    """The index of several files has their hashes, which are checked when they are read."""
    folder = DatasetFolder(make_striped_dataset(tmp_path / "data", rows_per_label=2))
    for path in (folder.directory / "train").glob("*.png"):
        path.unlink()
    path = folder.directory / "train" / name
    path.write_bytes(bytes(100))
    before = folder.fingerprint()
    path.write_bytes(flipped(path.read_bytes()))
    after = folder.fingerprint()
    assert after["data_sha256"] == before["data_sha256"]
    assert after["files_sha256"] != before["files_sha256"]


def flipped(content: bytes) -> bytes:
    """The same with another bit in its middle."""
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


def test_a_second_run_is_kept_out_until_the_first_ends(tmp_path: Path) -> None:
    claim(tmp_path)
    with (
        sole_writer(tmp_path),
        pytest.raises(InputError, match="is in use by another run; wait until it ends"),
        sole_writer(tmp_path),
    ):
        pass
    with sole_writer(tmp_path):
        pass


def test_a_folder_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "checkpoint"
    for text in ("first", "second"):
        with replaced_folder(target) as folder:
            (folder / text).write_text(text)
            assert not (target / text).exists()
        assert [path.name for path in target.iterdir()] == [text]
    with pytest.raises(KeyboardInterrupt), replaced_folder(target) as folder:
        (folder / "third").touch()
        raise KeyboardInterrupt
    assert [path.name for path in target.iterdir()] == ["second"]
    assert list(tmp_path.iterdir()) == [target]


def test_files_of_a_replaced_folder_are_as_readable_as_the_folder(tmp_path: Path) -> None:
    with replaced_folder(tmp_path / "a") as folder:
        (folder / "part").mkdir()
        (folder / "part/weights").touch(0o600)
        folder.chmod(0o755)
    assert (tmp_path / "a/part/weights").stat().st_mode & 0o777 == 0o644
