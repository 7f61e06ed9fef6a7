"""Replacing a folder atomically."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


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


def _share_files(folder: Path) -> None:
    """Make files as readable as the folder; safetensors makes them readable only by their owner."""
    mode = folder.stat().st_mode & 0o666
    for path in folder.rglob("*"):
        if path.is_file():
            path.chmod(mode)
