"""Progress of work that is done part by part."""

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import numpy.typing as npt

Part = TypeVar("Part", bound=npt.NDArray[Any])
"""(channels, samples)."""


def counted(parts: Iterator[Part], total: int, move: Callable[[int, int], None]) -> Iterator[Part]:
    """The parts, with `move` called after each with the samples done and their total."""
    done = 0
    for part in parts:
        yield part
        done += part.shape[1]
        move(done, total)


class OneAfterTheOther:
    """Progress of several pieces of work in a row, as one whose steps never go back.

    Args:
        move: called with the steps done of all pieces so far, and their total.
    """

    def __init__(self, move: Callable[[int, int], None]) -> None:
        self._move = move
        self._before = 0
        self._done = 0
        self._total = 0

    def __call__(self, done: int, total: int) -> None:
        """Report the steps done of the present piece, and its total."""
        if total != self._total or done <= self._done:
            self._before += self._done
        self._done, self._total = done, total
        self._move(self._before + done, self._before + total)
