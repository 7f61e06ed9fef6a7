"""The order of training examples, which depends only on the seed and the step.

`ResumableSampler` yields keys (row, draw): the row of the data set, and the running number of the
draw, which seeds everything random about the example, such as its crop and its caption. A resumed
run therefore sees the same examples as an uninterrupted one.
"""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from riffusion.datasets.examples import Example, Examples, Key
from riffusion.errors import InputError, RiffusionError


@dataclass
class ResumableSampler(Sampler[list[Key]]):
    """Endless batches of keys for one process, starting at batch `first_batch`.

    Every epoch is a different permutation of the rows. Within a step, the processes take
    consecutive batches, so a step sees the same examples however many processes share it.

    Args:
        num_rows: rows of the data set.
        batch_size: keys per batch.
        seed: determines the permutations.
        first_batch: number of batches that this process has already seen.
        process, num_processes: index of this process, and number of processes.
    """

    num_rows: int
    batch_size: int
    seed: int
    first_batch: int = 0
    process: int = 0
    num_processes: int = 1

    def __iter__(self) -> Iterator[list[Key]]:
        batch = self.first_batch
        epoch, permutation = -1, np.empty(0, dtype=np.int64)
        while True:
            first_draw = (batch * self.num_processes + self.process) * self.batch_size
            keys = []
            for draw in range(first_draw, first_draw + self.batch_size):
                if draw // self.num_rows != epoch:
                    epoch = draw // self.num_rows
                    permutation = np.random.default_rng((self.seed, epoch)).permutation(
                        self.num_rows
                    )
                keys.append((int(permutation[draw % self.num_rows]), draw))
            yield keys
            batch += 1


def collated(examples: list[Example]) -> Example:
    """A batch of examples, with a leading axis.

    Pixels as bytes may have one plane or three; if one of a batch has three, all get them.

    Raises:
        InputError: images differ in size.
    """
    if "pixels" in examples[0]:
        sizes = {tuple(example["pixels"].shape[-2:]) for example in examples}
        if len(sizes) > 1:
            found = " and ".join(f"{width} x {height}" for height, width in sorted(sizes)[:2])
            raise InputError(
                f"data.dataset has images of {found} pixels, but all of a batch must have one "
                "size; set data.resolution, or make the data set again with clips of one length"
            )
        planes = max(len(example["pixels"]) for example in examples)
        for example in examples:
            example["pixels"] = example["pixels"].expand(planes, -1, -1)
    batch: Example = torch.utils.data.default_collate(examples)
    return batch


class _Guarded(Dataset[Any]):
    """Examples, or in place of one that can't be made its error.

    An error that a loader's process raises would arrive with that process's traceback as message.
    """

    def __init__(self, examples: Examples) -> None:
        self.examples = examples

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, key: Key) -> Example | RiffusionError:
        try:
            return self.examples[key]
        except RiffusionError as error:
            return error


def _collated_or_error(examples: list[Any]) -> Example | RiffusionError:
    for example in examples:
        if isinstance(example, RiffusionError):
            return example
    try:
        return collated(examples)
    except RiffusionError as error:
        return error


def example_batches(
    examples: Examples, sampler: Sampler[list[Key]], num_workers: int = 0, *, threads: bool = False
) -> Iterator[Example]:
    """Batches of examples, in the sampler's order.

    Args:
        examples: the examples.
        sampler: yields the keys of each batch.
        num_workers: processes or threads that load examples; 0 loads them in this thread.
        threads: use threads, which share what they have read, in place of processes.

    Raises:
        RiffusionError: an example can't be made, whichever process tried to.
    """
    if threads:
        yield from _batches_by_threads(examples, sampler, num_workers)
        return
    loader: DataLoader[Any] = DataLoader(
        _Guarded(examples),
        collate_fn=_collated_or_error,
        batch_sampler=sampler,
        num_workers=num_workers,
        persistent_workers=num_workers > 0,
        pin_memory=torch.cuda.is_available(),
    )
    for batch in loader:
        if isinstance(batch, RiffusionError):
            raise batch
        yield batch


def _batches_by_threads(
    examples: Examples, sampler: Sampler[list[Key]], num_threads: int
) -> Iterator[Example]:
    """As `example_batches`. Decoding images and reading files release Python's lock."""

    def batch(keys: list[Key]) -> Example:
        found = collated([examples[key] for key in keys])
        if not torch.cuda.is_available():
            return found
        pinned: Any = {name: value.pin_memory() for name, value in found.items()}  # type: ignore[attr-defined]
        result: Example = pinned
        return result

    if num_threads == 0:
        yield from map(batch, sampler)
        return
    with ThreadPoolExecutor(num_threads) as pool:
        pending: deque[Future[Example]] = deque()
        try:
            for keys in sampler:
                pending.append(pool.submit(batch, keys))
                if len(pending) > 2 * num_threads:
                    yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()
