"""Vacant folders, files behind links to folders, and files that are replaced together."""

from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest

from riffusion.io.folders import is_vacant, linked_files, replaced_files


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


def contents(directory: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in directory.iterdir()}


def write_all(directory: Path, content: str, *names: str) -> None:
    for name in names:
        (directory / name).write_text(content)


def test_files_are_replaced_together(tmp_path: Path) -> None:
    write_all(tmp_path, "old", "a", "index", "other")
    with replaced_files(tmp_path, "index") as new:
        write_all(new, "new", "b", "a", "index")
        assert (tmp_path / "a").read_text() == "old"
    assert contents(tmp_path) == {"a": "new", "b": "new", "index": "new", "other": "old"}


def test_a_link_is_replaced_and_its_target_stays(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (tmp_path / "blob").write_text("of others")
    (folder / "a").symlink_to(tmp_path / "blob")
    (folder / "b").symlink_to(tmp_path / "nothing")
    with replaced_files(folder, "index") as new:
        write_all(new, "new", "a", "b", "index")
    assert contents(folder) == {"a": "new", "b": "new", "index": "new"}
    assert (tmp_path / "blob").read_text() == "of others"
    assert not (tmp_path / "nothing").exists()


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    with pytest.raises(StopIteration), replaced_files(tmp_path, "index") as new:
        left = new.parent.name
        raise StopIteration
    (tmp_path / left / "new").mkdir(parents=True)
    write_all(tmp_path / left / "new", "half", "a")
    with replaced_files(tmp_path, "index") as new:
        write_all(new, "new", "index")
    assert contents(tmp_path) == {"index": "new"}


NUM_RENAMES = 5  # two files are put aside, three come
Rename = Callable[[Path, Path], Path]


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
@pytest.mark.parametrize("failing", range(NUM_RENAMES))
@pytest.mark.parametrize("is_done", [False, True])
def test_a_failure_while_they_are_replaced_changes_nothing(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: type[BaseException],
    failing: int,
    is_done: bool,
) -> None:
    write_all(tmp_path, "old", "a", "index", "other")
    before = contents(tmp_path)
    number, rename = count(), Path.replace

    def replace(path: Path, target: Path) -> Path:
        fails = next(number) == failing
        if not fails or is_done:
            rename(path, target)
        if fails:
            raise error("the first")
        return target

    monkeypatch.setattr(Path, "replace", replace)
    with pytest.raises(error, match="the first"), replaced_files(tmp_path, "index") as new:
        write_all(new, "new", "a", "b", "index")
    assert contents(tmp_path) == before
    assert next(number) > failing


def test_an_error_of_cleaning_up_does_not_hide_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_all(tmp_path, "old", "a", "index")
    number, rename = count(), Path.replace

    def replace(path: Path, target: Path) -> Path:
        if (call := next(number)) >= 2:
            raise OSError(f"call {call}")
        return rename(path, target)

    monkeypatch.setattr(Path, "replace", replace)
    with pytest.raises(OSError, match="^call 2$"), replaced_files(tmp_path, "index") as new:
        write_all(new, "new", "a", "index")
    assert next(number) == 5  # both files were tried again


def test_a_folder_of_a_files_name_stays(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    write_all(tmp_path, "old", "index")
    with pytest.raises(IsADirectoryError), replaced_files(tmp_path, "index") as new:
        write_all(new, "new", "a", "index")
    assert (tmp_path / "a").is_dir()
    assert (tmp_path / "index").read_text() == "old"
