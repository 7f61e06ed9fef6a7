"""A disk without room for temporary files: not the request's fault, and soon over."""

import errno
import logging

from riffusion.errors import StorageError, StorageFullError

logger = logging.getLogger(__name__)

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


def has_no_room(error: BaseException | None) -> bool:
    """Whether an error, or what it comes from, is a file that can't be written."""
    while error is not None:
        if isinstance(error, StorageError):
            return True
        if isinstance(error, OSError) and error.errno in _NO_ROOM:
            return True
        error = error.__cause__
    return False


def storage_failure(error: Exception) -> StorageFullError:
    """What a client is told: no path of this machine, which the log has."""
    logger.error("no room for temporary files: %s", error)
    return StorageFullError()
