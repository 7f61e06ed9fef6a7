"""Progress bars on a terminal; nothing where stderr is a file or a pipe."""

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import typer


def is_bar_shown() -> bool:
    """Whether progress bars are visible: stderr is a terminal."""
    return sys.stderr.isatty()


@contextmanager
def progress_bar(label: str, *, is_enabled: bool = True) -> Iterator[Callable[[int, int], None]]:
    """Show a progress bar, and yield the function that moves it, called with (done, total).

    Args:
        label: text beside the bar.
        is_enabled: False for no bar, even on a terminal.
    """
    if not (is_enabled and is_bar_shown()):
        yield lambda done, total: None
        return
    # The bar needs a length from the start; the total is known only at the first call.
    with typer.progressbar(length=1, label=label, file=sys.stderr) as bar:

        def move(done: int, total: int) -> None:
            bar.length = total
            bar.update(done - bar.pos)

        yield move


class StageBars(ExitStack):
    """One progress bar per stage of a job, one after the other."""

    _label = ""

    def move(self, label: str, done: int, total: int) -> None:
        """Move the bar of a stage; a new label ends the previous bar and begins another."""
        if label != self._label:
            self.close()
            self._label = label
            self._move = self.enter_context(progress_bar(label))
        self._move(done, total)
