"""How long tests wait. Only a hang uses it up, even on a machine that is forty times slower."""

import time
from collections.abc import Callable

PATIENCE_S = 900.0
"""Less than pytest's own limit for one test, so that the test itself says what it waited for."""


def wait_until(condition: Callable[[], object], what: str, poll_s: float = 0.02) -> None:
    """Wait until a condition is true, or fail."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(poll_s)
