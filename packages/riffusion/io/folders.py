"""A folder that appears whole or not at all."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replaced_folder(directory: Path) -> Iterator[Path]:
    """A folder to write into, which takes the place of `directory` once the block is done.

    Args:
        directory: what is there stays until then, and is deleted then.
    """
    temporary = directory.with_name(f".{directory.name}.tmp")
    replaced = directory.with_name(f".{directory.name}.old")
    if replaced.exists() and not directory.exists():
        replaced.replace(directory)  # ended between the two renames below
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
    """Let those read the files who may enter the folder: safetensors shuts all others out."""
    mode = folder.stat().st_mode & 0o666
    for path in folder.rglob("*"):
        if path.is_file():
            path.chmod(mode)
