"""Something that is done now and then."""

import threading
import time


class Pace:
    """Says when something is due that happens at most once per interval. Threads may share it.

    Args:
        interval_s: time between two, and until the first one.
    """

    def __init__(self, interval_s: float) -> None:
        self._interval_s = interval_s
        self._lock = threading.Lock()
        self._last_s = time.monotonic()

    def is_due(self) -> bool:
        """Whether to do it now: True for one caller per interval."""
        now_s = time.monotonic()
        with self._lock:
            if now_s - self._last_s < self._interval_s:
                return False
            self._last_s = now_s
            return True
