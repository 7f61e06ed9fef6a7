"""The data-set folder: odd characters, damaged files, two runs at once, and folders replaced."""

import json
from pathlib import Path

import pytest

from riffusion.datasets.folder import (
    DatasetFolder,
    DatasetRow,
    claim_directory,
    sole_writer,
    write_metadata,
)
from riffusion.errors import InputError
from riffusion.io.folders import replaced_folder
from riffusion.spectrogram.params import SpectrogramParams


def claim(directory: Path, command: str = "test") -> None:
    claim_directory(directory, command, {"seed": 0}, SpectrogramParams())


def test_rows_with_any_characters_come_back(tmp_path: Path) -> None:
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


def test_a_folder_of_another_command_is_refused(tmp_path: Path) -> None:
    claim(tmp_path)
    with pytest.raises(InputError, match="command: 'test' then, 'other' now"):
        claim(tmp_path, "other")
    assert json.loads((tmp_path / "dataset.json").read_text())["command"] == "test"


def test_a_second_run_is_kept_out_until_the_first_ends(tmp_path: Path) -> None:
    claim(tmp_path)
    with (
        sole_writer(tmp_path),
        pytest.raises(InputError, match="is being made by another run; wait for its end"),
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
