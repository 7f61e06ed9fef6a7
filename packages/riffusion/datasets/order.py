"""Batches of a split in the order that suits its data set: rows at random, or shard by shard."""

from collections.abc import Iterator
from typing import Any

from riffusion.datasets.config import DataConfig
from riffusion.datasets.examples import Example, Examples
from riffusion.datasets.folder import Split
from riffusion.datasets.sampler import ResumableSampler, example_batches
from riffusion.datasets.shard_folder import ShardedFolder
from riffusion.datasets.stream_order import StreamOrder
from riffusion.errors import InputError


def batches_of(
    examples: Examples,
    split: Split,
    data: DataConfig,
    *,
    seed: int,
    first_batch: int = 0,
    process: int = 0,
    num_processes: int = 1,
) -> Iterator[Example]:
    """Endless batches of a split for one process.

    Args:
        examples: the examples of the split.
        split: the split. That for validation is loaded in this thread.
        data: batch size and workers; and lanes and shuffle buffer of a sharded data set.
        seed: determines the order.
        first_batch: number of batches that this process has already seen.
        process, num_processes: index of this process, and number of processes.

    Raises:
        InputError: lanes don't fit the shards or the processes.
        RiffusionError: an example can't be made.
    """
    workers = data.num_workers if split == "train" else 0
    folder = streamed_folder(examples)
    if folder is None:
        sampler = ResumableSampler(
            len(examples), data.batch_size, seed, first_batch, process, num_processes
        )
        return example_batches(examples, sampler, workers)
    order = StreamOrder(
        folder.shard_rows(split),
        data.batch_size,
        seed,
        first_batch,
        process,
        num_processes,
        data.lanes if split == "train" else 1,
        data.shuffle_shards,
    )
    folder.num_kept[split] = order.num_kept
    return example_batches(examples, order, workers, threads=True)


def streamed_folder(examples: Examples) -> ShardedFolder | None:
    """The sharded data set that examples are read from as they are drawn; None if there is none.

    Raises:
        InputError: examples of a sharded data set are mixed with others.
    """
    inner: Any = examples
    while True:
        if hasattr(inner, "new") and hasattr(inner, "old"):  # `training.replay`
            if streamed_folder(inner.new) is not None:
                raise InputError(
                    "data.replay cannot be combined with a sharded data.dataset; name a data-set "
                    "folder, or leave data.replay out"
                )
            return None
        folder = getattr(inner, "folder", None)
        if isinstance(folder, ShardedFolder):
            return folder if getattr(inner, "latents", None) is None else None
        if not hasattr(inner, "examples"):
            return None
        inner = inner.examples
