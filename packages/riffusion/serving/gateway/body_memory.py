"""A limit on the bodies that the gateway holds at the same time, of all clients together.

The limits per client don't bound their sum, since an attacker may have many addresses. While the
endpoint is started again, bodies are held for longer, too.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

MAX_BYTES = 512 * 2**20
"""Fourteen bodies of the largest size. The process needs up to twice that, for what is sent."""
RETRY_AFTER_S = 1


class BodyMemory:
    """Counts the bytes of bodies that are held. Belongs to one event loop, so it needs no lock."""

    def __init__(self) -> None:
        self.num_bytes = 0

    @contextmanager
    def share(self) -> Iterator[Callable[[int], bool]]:
        """Context of one request. Yields a function that takes a number of bytes for its body.

        The function returns whether there was room. At the end of the context the bytes are free.
        """
        taken = 0

        def take(num_bytes: int) -> bool:
            nonlocal taken
            if self.num_bytes + num_bytes > MAX_BYTES:
                return False
            self.num_bytes += num_bytes
            taken += num_bytes
            return True

        try:
            yield take
        finally:
            self.num_bytes -= taken
