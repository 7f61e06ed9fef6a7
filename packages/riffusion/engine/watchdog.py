"""Finds out whether the engine's thread still makes progress.

A GPU can hang without an error: the call that waits for it never returns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

SHORTEST_HANG_S = {"cuda": 60.0}
"""Age of a piece of work, by type of device, below which it is never called a hang."""
_SHORTEST_HANG_ELSEWHERE_S = 1800.0
"""A CPU doesn't hang, and decoding a minute of audio with a large checkpoint takes minutes."""
_USUAL_DURATIONS = 20.0
"""A piece of work is a hang if it takes this many times as long as the longest one before."""


class Watchdog:
    """Knows how long the present piece of work has taken: a UNet call, an encoding, a decoding.

    Args:
        clock: current time in seconds.
        device_type: `cuda`, `cpu` …
    """

    def __init__(self, clock: Callable[[], float], device_type: str) -> None:
        self._clock = clock
        self._shortest_hang_s = SHORTEST_HANG_S.get(device_type, _SHORTEST_HANG_ELSEWHERE_S)
        self._since_s: float | None = None
        self._longest_s = 0.0

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Watch the work within the block."""
        self._since_s = self._clock()
        try:
            yield
        finally:
            self.next()
            self._since_s = None

    def next(self) -> None:
        """Within `watching`: the present piece of work is done, and the next one begins."""
        now_s = self._clock()
        if self._since_s is not None:
            self._longest_s = max(self._longest_s, now_s - self._since_s)
        self._since_s = now_s

    @property
    def is_hanging(self) -> bool:
        """Whether the present piece of work is far older than any has been. For any thread."""
        since_s = self._since_s
        if since_s is None:
            return False
        limit_s = max(self._shortest_hang_s, _USUAL_DURATIONS * self._longest_s)
        return self._clock() - since_s > limit_s
