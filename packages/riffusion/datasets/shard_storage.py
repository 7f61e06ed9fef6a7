"""Reads the files of a sharded data set from a folder, or over a network."""

import logging
import time
from pathlib import Path
from typing import Any

from riffusion.datasets.shards import damaged
from riffusion.errors import InputError, MediaError

logger = logging.getLogger(__name__)

ATTEMPTS = 4
"""Reads of a file over a network before it counts as unreachable."""
SILENCE_S = 60.0
"""How long a server may send nothing."""
SLOWEST_BYTES_PER_S = 100_000
"""A file may take `SILENCE_S` and what its largest size takes at this rate."""
_WORTH_REPEATING = (408, 425, 429)
"""Statuses below 500 that a later attempt may change: timeout, too early, too many requests."""
_FIRST_PAUSE_S = 0.5
_PART_BYTES = 2**20


class ShardStorage:
    """Reads whole files below a folder or a URL."""

    def __init__(self, base: str) -> None:
        self.base = base
        self.is_remote = "://" in base

    def where(self, name: str) -> str:
        """The address of a file."""
        return f"{self.base.rstrip('/')}/{name}"

    def read(self, name: str, max_bytes: int) -> bytes:
        """The content of a file. Over a network, it is tried several times.

        Args:
            name: its name.
            max_bytes: the most that is read over a network.

        Raises:
            InputError: it can't be read, or is larger than that over a network.
            MediaError: the same for what another attempt may change, after the last one.
        """
        where = self.where(name)
        if not self.is_remote:
            try:
                return Path(where).read_bytes()
            except OSError as error:
                raise InputError(f"shard={where!r} cannot be read ({error.strerror})") from error
        for attempt in range(1, ATTEMPTS + 1):
            try:
                data = _read_remote(where, max_bytes)
            except FileNotFoundError as error:
                raise InputError(f"shard={where!r} does not exist; check the address") from error
            except (ValueError, ImportError) as error:  # an unknown kind of address
                raise InputError(f"shard={where!r} cannot be read: {error}") from error
            except Exception as error:  # each file system has its own exceptions
                reason = " ".join(str(error).split())[:200] or type(error).__name__
                if _is_refusal(error):
                    raise InputError(
                        f"shard={where!r} may not be read ({reason}); check the address and the "
                        "credentials"
                    ) from error
                if attempt == ATTEMPTS:
                    raise MediaError(
                        f"shard={where!r} cannot be read ({reason}; tried {ATTEMPTS} times); check "
                        "the connection, and run the same command again: it resumes from the last "
                        "state"
                    ) from error
                logger.warning("reading %s again: %s", where, reason)
                time.sleep(_FIRST_PAUSE_S * 2 ** (attempt - 1))
                continue
            if len(data) > max_bytes:
                raise damaged(where, f"it has more than {max_bytes} bytes")
            return data
        raise AssertionError("unreachable")


def _is_refusal(error: Exception) -> bool:
    """Whether a server would answer another attempt in the same way."""
    status = getattr(error, "status", None)  # of aiohttp's errors
    is_final = isinstance(status, int) and 400 <= status < 500 and status not in _WORTH_REPEATING
    return is_final or isinstance(error, PermissionError)


def _read_remote(where: str, max_bytes: int) -> bytes:
    """A file's content, or its first `max_bytes` + 1 bytes, whatever its size.

    Raises:
        TimeoutError: nothing comes for `SILENCE_S`, or it takes longer than at
            `SLOWEST_BYTES_PER_S`.
        Exception: the file system's own errors.
    """
    import fsspec

    file_system, path = fsspec.core.url_to_fs(where)
    data = bytearray()
    started, longest_s = time.monotonic(), SILENCE_S + max_bytes / SLOWEST_BYTES_PER_S
    try:
        with file_system.open(path, "rb", **_options(where, longest_s)) as file:
            while part := file.read(min(_PART_BYTES, max_bytes + 1 - len(data))):
                data += part
                if time.monotonic() - started > longest_s:
                    raise TimeoutError
    except TimeoutError as error:
        raise TimeoutError(
            f"nothing came for {SILENCE_S:g} s, or less than {max_bytes} bytes in {longest_s:.0f} s"
        ) from error
    return bytes(data)


def _options(where: str, longest_s: float) -> dict[str, Any]:
    """Options of fsspec for opening a file. Its own limit for HTTP is five minutes for any file."""
    if not where.startswith(("http://", "https://")):
        return {}
    import aiohttp

    limit = aiohttp.ClientTimeout(total=longest_s, sock_connect=SILENCE_S, sock_read=SILENCE_S)
    # One request that is read as it comes. With a size, fsspec doesn't ask for it in another one.
    return {"block_size": 0, "size": 1, "timeout": limit}
