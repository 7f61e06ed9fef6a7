"""Vacant folders, and files behind links to folders."""

from pathlib import Path

import pytest

from riffusion.io.folders import is_vacant, linked_files


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


@pytest.mark.parametrize(
    ("names", "vacant"),
    [
        ([], True),
        ([".DS_Store", "Thumbs.db", "desktop.ini", "._a"], True),
        (["lost+found/x"], True),
        (["a.txt"], False),
        ([".DS_Store", "sub/x"], False),
        ([".hidden"], False),
    ],
)
def test_a_folder_with_notes_of_the_system_is_vacant(
    tmp_path: Path, names: list[str], vacant: bool
) -> None:
    touch(*(tmp_path / name for name in names))
    assert is_vacant(tmp_path) == vacant


def test_a_file_is_not_vacant(tmp_path: Path) -> None:
    touch(tmp_path / "a")
    assert not is_vacant(tmp_path / "a")
    assert not is_vacant(tmp_path / "none")


def linked(directory: Path) -> list[str]:
    return [path.relative_to(directory).as_posix() for path in linked_files(directory)]


def test_files_behind_links_to_folders(tmp_path: Path) -> None:
    top, other = tmp_path / "top", tmp_path / "other"
    touch(top / "own", top / "sub/own", other / "a", other / "deep/b", tmp_path / "third/c")
    assert linked(top) == []
    (top / "album").symlink_to(other)
    (top / "sub/more").symlink_to("../../third")  # relative
    (other / "chain").symlink_to(tmp_path / "third")  # the same folder again
    (top / ".hidden").symlink_to(tmp_path / "third")
    (top / "gone").symlink_to(tmp_path / "none")
    assert linked(top) == ["album/a", "album/deep/b", "sub/more/c"]


def test_loops_of_links_end(tmp_path: Path) -> None:
    top, other = tmp_path / "top", tmp_path / "other"
    touch(top / "own", top / "sub/own", other / "a", tmp_path / "apart")
    (top / "self").symlink_to(".")
    (top / "sub/up").symlink_to("../..")  # the folder around everything
    (top / "sibling").symlink_to("sub")
    (top / "knot").symlink_to("knot")
    (top / "album").symlink_to(other)
    (other / "back").symlink_to(top)
    (other / "again").symlink_to(".")
    assert linked(top) == ["album/a"]
    (tmp_path / "entry").symlink_to(top)
    assert linked(tmp_path / "entry") == ["album/a"]
