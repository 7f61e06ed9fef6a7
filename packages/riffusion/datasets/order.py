"""Batches of a split in the order that suits its data set: rows at random, or shard by shard."""

from collections.abc import Iterator

from riffusion.datasets.config import DataConfig
from riffusion.datasets.examples import DerivedExamples, Example, Examples, ImageExamples
from riffusion.datasets.folder import Split
from riffusion.datasets.latents import LatentExamples
from riffusion.datasets.sampler import ResumableSampler, example_batches
from riffusion.datasets.shard_folder import ShardedFolder
from riffusion.datasets.stream_order import StreamOrder


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
    """The sharded data set that examples are read from as they are drawn; None if there is none."""
    while isinstance(examples, DerivedExamples):
        examples = examples.examples
    if isinstance(examples, LatentExamples):
        return examples.streamed_from
    if isinstance(examples, ImageExamples) and isinstance(examples.folder, ShardedFolder):
        return examples.folder
    return None
