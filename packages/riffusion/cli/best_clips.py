"""The clips of `riffusion generate --count 8 --best 2` that follow the prompt best."""

import heapq
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from riffusion.errors import InputError

if TYPE_CHECKING:
    from riffusion.evaluation.ranking import Judge
    from riffusion.generation.generator import Clip


def check_best(count: int, best: int | None, judge: Path | None) -> None:
    """Check the options that belong together.

    Raises:
        InputError: one of --best and --judge without the other, or a number out of range.
    """
    if best is None:
        if judge is not None:
            raise InputError("ranks clips for --best; add it, such as --best 2", field="judge")
        return
    if not 1 <= best <= count:
        raise InputError(f"{best} must be from 1 to --count={count}", field="best")
    if judge is None:
        raise InputError(
            f"{best} needs a judge; name the folder of a classifier or of a CLAP model with "
            "--judge",
            field="best",
        )


class BestClips:
    """Keeps the clips with the highest scores; of equal ones, the first.

    Args:
        number: how many are kept.
        judge: gives the scores.
    """

    def __init__(self, number: int, judge: "Judge") -> None:
        self._number, self._judge = number, judge
        self._heap: list[tuple[float, int, int, Clip]] = []
        self._num_seen = 0

    def add(self, seed: int, clip: "Clip") -> float:
        """Keep a clip if it is among the best so far, and return its score."""
        score = self._judge.score(clip.image)
        heapq.heappush(self._heap, (score, -self._num_seen, seed, clip))
        self._num_seen += 1
        if len(self._heap) > self._number:
            heapq.heappop(self._heap)
        return score

    def __iter__(self) -> Iterator[tuple[int, "Clip"]]:
        """Seeds and clips, the best first."""
        for _, _, seed, clip in sorted(self._heap, key=lambda entry: entry[:2], reverse=True):
            yield seed, clip
