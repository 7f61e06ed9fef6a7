"""Folders: the user's cache, replacing one or some of its files, vacant ones, links to folders."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from errno import EISDIR
from pathlib import Path

_SYSTEM_FILES = frozenset({".DS_Store", ".localized", "Thumbs.db", "desktop.ini", "lost+found"})
"""What file managers and file systems create in a folder by themselves."""


def user_cache_dir() -> Path | None:
    """The project's folder in the user's cache folder; None if the user has no home folder."""
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "riffusion"
    except RuntimeError:
        return None


def is_vacant(directory: Path) -> bool:
    """Whether a path is a folder that holds nothing but what the system creates by itself.

    Such are the notes of file managers (`.DS_Store`, `Thumbs.db`, `desktop.ini`) and `lost+found`.
    """
    return directory.is_dir() and all(
        path.name in _SYSTEM_FILES or path.name.startswith("._") for path in directory.iterdir()
    )


def linked_files(directory: Path) -> list[Path]:
    """Files below folders that are linked into a folder (symbolic links), which `glob` leaves out.

    No folder is listed twice: a link to a folder that is listed already, or that contains the
    link, is passed over, so a loop of links ends. Hidden folders are not entered.

    Returns:
        Paths below `directory`, sorted; the files of the folder itself are not among them.
    """
    seen: set[str] = set()
    links = _linked_folders(directory, seen, [])
    found: list[Path] = []
    while links:
        link = links.pop(0)
        target = os.path.realpath(link)
        around = os.path.realpath(link.parent)
        if target not in seen and not Path(around).is_relative_to(target):
            links += _linked_folders(link, seen, found)
    return sorted(found)


def _linked_folders(top: Path, seen: set[str], files: list[Path]) -> list[Path]:
    """Walk a folder without following links.

    Args:
        top: the folder.
        seen: real paths of the folders walked so far; not entered again, and extended.
        files: extended by the files found.

    Returns:
        The links to folders found.
    """
    links = []
    for folder, names, file_names in os.walk(top):
        real = os.path.realpath(folder)
        if real in seen:
            names.clear()
            continue
        seen.add(real)
        names[:] = sorted(name for name in names if not name.startswith("."))
        links += [path for name in names if (path := Path(folder, name)).is_symlink()]
        files += [path for name in file_names if (path := Path(folder, name)).is_file()]
    return links


@contextmanager
def replaced_folder(directory: Path) -> Iterator[Path]:
    """Create a temporary folder that replaces `directory` when the block ends without an error.

    Args:
        directory: the folder to create or replace; until then its old content stays.
    """
    temporary = directory.with_name(f".{directory.name}.tmp")
    replaced = directory.with_name(f".{directory.name}.old")
    if replaced.exists() and not directory.exists():
        replaced.replace(directory)  # an earlier process ended between the two renames below
    for left_behind in (temporary, replaced):
        shutil.rmtree(left_behind, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        yield temporary
        _share_files(temporary)
        if directory.exists():
            directory.replace(replaced)
        try:
            temporary.replace(directory)
        except OSError:
            if replaced.exists():
                replaced.replace(directory)
            raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    shutil.rmtree(replaced, ignore_errors=True)


@contextmanager
def replaced_files(directory: Path, last: str) -> Iterator[Path]:
    """Create a temporary folder whose files replace those of `directory` when the block ends.

    They replace files of the same names, all or none: after an error or an interruption,
    `directory` is as before. Its other files stay.

    Args:
        directory: an existing folder.
        last: name of the file that says what the others are. It is taken away first and comes
            last, so a process that is killed meanwhile leaves no such file beside wrong ones.

    Raises:
        OSError: the folder can't be written, which is found before the block runs.
    """
    temporary = directory / ".replacing.tmp"
    shutil.rmtree(temporary, ignore_errors=True)  # an earlier process was killed
    new, old = temporary / "new", temporary / "old"
    try:
        new.mkdir(parents=True)
        old.mkdir()
        yield new
        names = sorted((path.name for path in new.iterdir()), key=lambda name: (name == last, name))
        try:
            for name in reversed(names):
                if (directory / name).is_dir():
                    raise IsADirectoryError(EISDIR, os.strerror(EISDIR), str(directory / name))
                if os.path.lexists(directory / name):
                    (directory / name).replace(old / name)
            for name in names:
                (new / name).replace(directory / name)
        except BaseException:
            for name in names:
                with suppress(OSError):  # so that the first error is the one that is told
                    if os.path.lexists(old / name):
                        (old / name).replace(directory / name)
                    elif not (new / name).exists():
                        (directory / name).unlink()
            raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _share_files(folder: Path) -> None:
    """Make files as readable as the folder; safetensors makes them readable only by their owner."""
    mode = folder.stat().st_mode & 0o666
    for path in folder.rglob("*"):
        if path.is_file():
            path.chmod(mode)
