"""Checks of files before they are read, and writing that leaves no partial file."""

import hashlib
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from riffusion.errors import InputError, MediaError

MAX_NAME_BYTES = 255
"""Longest file name on the usual file systems."""


def check_readable(path: Path, max_bytes: int, what: str) -> None:
    """Check that `path` is a regular file of an allowed size. (A pipe or device may never end.)

    Args:
        path: the file.
        max_bytes: largest allowed size.
        what: kind of file for the message, such as `audio`.

    Raises:
        InputError: the path isn't a regular file.
        MediaError: the file is empty or too large.
    """
    if not path.is_file():
        if path.is_dir():
            reason = "is a folder"
        else:
            reason = "is not a regular file" if path.exists() else "does not exist"
        raise InputError(f"path={str(path)!r} {reason}; name an existing {what} file")
    size = path.stat().st_size
    if size == 0:
        raise MediaError(f"path={str(path)!r}: the {what} file is empty (0 bytes)")
    if size > max_bytes:
        raise MediaError(
            f"path={str(path)!r}: the {what} file has {size} bytes; at most {max_bytes} are allowed"
        )


def check_output_path(path: Path) -> None:
    """Check that a file can be at `path`: the path isn't a folder, and its parent folder exists.

    Raises:
        InputError: the path is a folder, or its parent folder doesn't exist.
    """
    if path.is_dir():
        raise InputError(f"path={str(path)!r} is a folder; name a file in it")
    if not path.parent.is_dir():
        raise InputError(f"path={str(path)!r}: the folder {str(path.parent)!r} does not exist")


@contextmanager
def replaced_file(path: Path) -> Iterator[BinaryIO]:
    """Open a temporary file that replaces `path` when the block ends without an error.

    It is beside the target, is unbuffered, and goes if there is an error. A symbolic link stays,
    and its target is replaced. A pipe or device is written to directly.

    Raises:
        OSError: the file can't be written.
    """
    if path.exists() and not path.is_file():
        with path.open("w+b", buffering=0) as file:
            yield file
        return
    target = Path(os.path.realpath(path))
    temporary = target.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        with temporary.open("x+b", buffering=0) as file:
            yield file
            os.fsync(file.fileno())
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def write_file(data: bytes, path: Path) -> None:
    """Write a file atomically, as `replaced_file` does; an existing file is replaced.

    Raises:
        InputError: the file can't be written.
    """
    check_output_path(path)
    try:
        if path.exists() and not path.is_file():
            path.write_bytes(data)
            return
        with replaced_file(path) as file:
            rest = memoryview(data)
            while rest:
                rest = rest[file.write(rest) :]
    except OSError as error:
        raise InputError(
            f"path={str(path)!r} cannot be written ({error.strerror}); "
            "make room there, or choose another place"
        ) from error


def short_name(stem: str, ending: str, unique: str = "") -> str:
    """`stem + ending`, with the end of the stem replaced by a hash if file systems refuse the name.

    Args:
        stem: the part that can be shortened.
        ending: the part that is kept, such as `_0.mp3`.
        unique: what the hash is made from, for stems that may be equal; default: the stem.
    """
    room = MAX_NAME_BYTES - len(os.fsencode(ending))
    if len(os.fsencode(stem)) <= room:
        return stem + ending
    mark = "-" + hashlib.sha256(os.fsencode(unique or stem)).hexdigest()[:10]
    kept = stem
    while kept and len(os.fsencode(kept + mark)) > room:
        kept = kept[:-1]
    return kept + mark + ending
