"""The order of a sharded data set's examples: tar file by tar file, as they are streamed.

Shards are dealt to L lanes, and draws of training take the lanes in turn: draw d is the next one of
lane d mod L. In a lane, each epoch is a random permutation of its shards; the rows of some
consecutive shards (the shuffle buffer) are permuted together. All of this follows from the seed, so
a resumed run sees the same examples as an uninterrupted one.

Of the draws of a step, process p of P takes those with d mod P = p. So a step sees the same
examples however many processes share it. P must divide L; then a process reads only the shards of
its own lanes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from torch.utils.data import Sampler

from riffusion.datasets.examples import Key
from riffusion.errors import InputError

_DEFAULT_LANES = (8, 4, 2, 1)


@dataclass
class StreamOrder(Sampler[list[Key]]):
    """Endless batches of keys for one process, starting at batch `first_batch`.

    Args:
        shard_rows: number of rows of each shard, in order.
        batch_size: keys per batch.
        seed: determines the order.
        first_batch: number of batches that this process has already seen.
        process, num_processes: index of this process, and number of processes.
        lanes: number of lanes; None for 8, or fewer if there are fewer shards.
        shuffle_shards: shards of a lane whose rows are permuted together.

    Raises:
        InputError: there are more lanes than shards, or processes don't divide them.
    """

    shard_rows: Sequence[int]
    batch_size: int
    seed: int
    first_batch: int = 0
    process: int = 0
    num_processes: int = 1
    lanes: int | None = None
    shuffle_shards: int = 4

    def __post_init__(self) -> None:
        count = len(self.shard_rows)
        self.num_lanes = self.lanes or next(n for n in _DEFAULT_LANES if n <= count)
        if self.num_lanes > count:
            raise InputError(
                f"data.lanes={self.num_lanes} exceeds the {count} shards; use fewer, or write "
                "smaller shards"
            )
        if self.num_lanes % self.num_processes:
            raise InputError(
                f"data.lanes={self.num_lanes} must be a multiple of the {self.num_processes} "
                "processes, each of which reads its own; set data.lanes"
            )
        starts = np.cumsum([0, *self.shard_rows[:-1]])
        self._lanes = [
            _Lane(
                [(int(starts[n]), self.shard_rows[n]) for n in range(lane, count, self.num_lanes)],
                (self.seed, lane),
                self.shuffle_shards,
            )
            for lane in range(self.num_lanes)
        ]

    @property
    def num_kept(self) -> int:
        """Number of shards that this process should keep in memory: two buffers per lane."""
        return 2 * self.shuffle_shards * self.num_lanes // self.num_processes

    def __iter__(self) -> Iterator[list[Key]]:
        batch = self.first_batch
        while True:
            first = batch * self.batch_size * self.num_processes + self.process
            draws = range(first, first + self.batch_size * self.num_processes, self.num_processes)
            yield [
                (self._lanes[draw % self.num_lanes].row(draw // self.num_lanes), draw)
                for draw in draws
            ]
            batch += 1


class _Lane:
    """Endless rows of some shards.

    Args:
        shards: (first row, number of rows) of each.
        seed: determines the order.
        shuffle_shards: consecutive shards whose rows are permuted together.
    """

    def __init__(
        self, shards: list[tuple[int, int]], seed: tuple[int, int], shuffle_shards: int
    ) -> None:
        self.shards, self.seed, self.shuffle_shards = shards, seed, shuffle_shards
        self.num_rows = sum(rows for _, rows in shards)
        self._epoch, self._order = -1, np.empty(0, dtype=np.int64)

    def row(self, position: int) -> int:
        """The row at a position of the lane's endless order."""
        epoch, place = divmod(position, self.num_rows)
        if epoch != self._epoch:
            self._epoch, self._order = epoch, self._of_epoch(epoch)
        return int(self._order[place])

    def _of_epoch(self, epoch: int) -> np.ndarray:
        rng = np.random.default_rng((*self.seed, epoch))
        shards = [self.shards[number] for number in rng.permutation(len(self.shards))]
        parts = []
        for begin in range(0, len(shards), self.shuffle_shards):
            buffer = shards[begin : begin + self.shuffle_shards]
            rows = [np.arange(first, first + count) for first, count in buffer]
            parts.append(rng.permutation(np.concatenate(rows)))
        return np.concatenate(parts)
