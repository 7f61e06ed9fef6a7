"""Progress bars on a terminal; nothing where stderr is a file or a pipe."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import typer


def is_bar_shown() -> bool:
    """Whether progress bars can be seen."""
    return sys.stderr.isatty()


@contextmanager
def progress_bar(label: str) -> Iterator[Callable[[int, int], None]]:
    """A bar that is moved by calling what this yields with (done, total)."""
    if not is_bar_shown():
        yield lambda done, total: None
        return
    # The total is known only with the first call, and the bar wants it from the start.
    with typer.progressbar(length=1, label=label, file=sys.stderr) as bar:

        def move(done: int, total: int) -> None:
            bar.length = total
            bar.update(done - bar.pos)

        yield move
