"""Progress of long jobs."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

Move = Callable[[int, int], None]
"""Called with (done, total)."""
Progress = Callable[[str], AbstractContextManager[Move]]
"""Opens a progress stage with a label; `riffusion.cli.progress.progress_bar` is one."""


@contextmanager
def silent(label: str) -> Iterator[Move]:
    """Report no progress."""
    del label
    yield lambda done, total: None
