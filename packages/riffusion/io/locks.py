"""Locks on folders: one keeps a second run out and names the first, one lets runs take turns."""

import contextlib
import fcntl
import logging
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from riffusion.errors import InputError

logger = logging.getLogger(__name__)

OWNER_NAME = ".owner"
"""File in a locked folder that names the lock's owner, for the message to others. Only the lock on
the folder counts, so a file that a killed owner left behind keeps nobody out."""

_handles: set[int] = set()
"""Handles of the locks that this process holds."""


def owner_of(directory: Path) -> str | None:
    """The name of a locked folder's owner; None if there is none, or its lock doesn't work."""
    try:
        return (directory / OWNER_NAME).read_text()
    except OSError:
        return None


@contextlib.contextmanager
def sole_writer(directory: Path) -> Iterator[None]:
    """Lock a folder against other runs until the block or this process ends.

    Args:
        directory: an existing folder.

    Raises:
        InputError: another run is writing to it; the message names its process.
    """
    handle = os.open(directory, os.O_RDONLY)
    owner = directory / OWNER_NAME
    is_locked = False
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            is_locked = True
        except BlockingIOError:
            raise InputError(
                f"output={str(directory)!r} is in use by another run; wait until it ends, or "
                f"choose another folder{_named(owner)}"
            ) from None
        except OSError as error:
            logger.debug(
                "%s cannot be locked, so other runs are not kept out: %s", directory, error
            )
        _handles.add(handle)
        if is_locked:
            with contextlib.suppress(OSError):  # the name is a help only; the lock doesn't need it
                owner.write_text(f"process {os.getpid()} on {socket.gethostname()}")
        yield
    finally:
        if is_locked:
            with contextlib.suppress(OSError):
                owner.unlink(missing_ok=True)
        _handles.discard(handle)
        os.close(handle)


@contextlib.contextmanager
def in_turn(directory: Path) -> Iterator[None]:
    """Wait until no other process is in such a block with this folder, and keep others waiting.

    On a file system without locks nobody waits.

    Args:
        directory: an existing folder.
    """
    handle = os.open(directory, os.O_RDONLY)
    _handles.add(handle)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
        except OSError as error:
            logger.debug("%s cannot be locked, so other runs don't wait: %s", directory, error)
        yield
    finally:
        _handles.discard(handle)
        os.close(handle)


def _named(owner: Path) -> str:
    """Which run the message speaks of; empty if the file doesn't name one."""
    try:
        text = " ".join(owner.read_text(encoding="utf-8").split())
    except (OSError, ValueError):
        return ""
    return f" (the other run is {text})" if text else ""


def _close_in_child() -> None:
    """Close the copies in a forked process; they would hold the lock after its owner has died."""
    for handle in _handles:
        with contextlib.suppress(OSError):
            os.close(handle)
    _handles.clear()


os.register_at_fork(after_in_child=_close_in_child)
