"""How long jobs tell how far they are."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

Move = Callable[[int, int], None]
"""Called with (done, total)."""
Progress = Callable[[str], AbstractContextManager[Move]]
"""Opens a stage by its name; `riffusion.cli.progress.progress_bar` is one."""


@contextmanager
def silent(label: str) -> Iterator[Move]:
    """Tells nobody."""
    del label
    yield lambda done, total: None
