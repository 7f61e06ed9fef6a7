"""Files of sound and images: checked before they are read, written whole or not at all."""

import os
import secrets
from pathlib import Path

from riffusion.errors import InputError, MediaError


def check_readable(path: Path, max_bytes: int, what: str) -> None:
    """Check that `path` is a regular file of a sensible size. Pipes and devices may never end.

    Args:
        path: the file.
        max_bytes: largest one allowed.
        what: it should be, such as `sound`, for the message.

    Raises:
        InputError: it isn't a file.
        MediaError: it is empty or too large.
    """
    if not path.is_file():
        there = "is not a regular file" if path.exists() else "does not exist"
        reason = "is a folder" if path.is_dir() else there
        raise InputError(f"path={str(path)!r} {reason}; name a {what} file")
    size = path.stat().st_size
    if size == 0:
        raise MediaError(f"path={str(path)!r}: the {what} file is empty (0 bytes)")
    if size > max_bytes:
        raise MediaError(
            f"path={str(path)!r}: the {what} file has {size} bytes; at most {max_bytes} are allowed"
        )


def check_place(path: Path) -> None:
    """Check that a file can lie at `path`: its folder exists, and it is no folder itself.

    Raises:
        InputError: that isn't so.
    """
    if path.is_dir():
        raise InputError(f"path={str(path)!r} is a folder; name a file in it")
    if not path.parent.is_dir():
        raise InputError(f"path={str(path)!r}: the folder {str(path.parent)!r} does not exist")


def write_file(data: bytes, path: Path) -> None:
    """Write a file, in place of one that is there. It appears whole or not at all.

    It is written beside the target, then renamed. A link stays, what it points to is replaced; a
    pipe or a device, which can't be replaced, is written to.

    Raises:
        InputError: it can't be written.
    """
    check_place(path)
    try:
        if path.exists() and not path.is_file():
            path.write_bytes(data)
            return
        target = Path(os.path.realpath(path))
        temporary = target.with_name(f".{secrets.token_hex(8)}.tmp")
        try:
            with temporary.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(
            f"path={str(path)!r} cannot be written ({error.strerror}); "
            "make room there, or choose another place"
        ) from error
