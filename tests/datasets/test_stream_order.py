"""The order of streamed examples: every row once per epoch, however many processes share it."""

from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from riffusion.datasets.stream_order import StreamOrder
from riffusion.errors import InputError

ROWS = st.lists(st.integers(1, 9), min_size=1, max_size=20)


def rows_of(order: StreamOrder, batches: int) -> list[int]:
    return [row for keys in islice(order, batches) for row, _ in keys]


@given(counts=ROWS, seed=st.integers(0, 2**63 - 1), buffer=st.integers(1, 5))
def test_one_lane_has_each_row_once_per_epoch(counts: list[int], seed: int, buffer: int) -> None:
    total = sum(counts)
    order = StreamOrder(counts, 1, seed, lanes=1, shuffle_shards=buffer)
    rows = rows_of(order, 3 * total)
    for epoch in range(3):
        assert sorted(rows[epoch * total : (epoch + 1) * total]) == list(range(total))


@given(counts=st.lists(st.integers(1, 9), min_size=4, max_size=20), buffer=st.integers(1, 3))
def test_a_buffer_has_whole_shards(counts: list[int], buffer: int) -> None:
    """The rows of few shards are in use at a time, and no shard comes back before it should."""
    order = StreamOrder(counts, 1, 5, lanes=1, shuffle_shards=buffer)
    shard_of = [number for number, count in enumerate(counts) for _ in range(count)]
    shards = [shard_of[row] for row in rows_of(order, sum(counts))]
    first = {shard: shards.index(shard) for shard in set(shards)}
    last = {shard: len(shards) - 1 - shards[::-1].index(shard) for shard in set(shards)}
    for place in range(len(shards)):
        assert sum(first[shard] <= place <= last[shard] for shard in first) <= buffer


@given(
    counts=st.lists(st.integers(1, 9), min_size=8, max_size=24),
    processes=st.sampled_from([2, 4, 8]),
    seed=st.integers(0, 99),
    first_batch=st.integers(0, 20),
)
def test_processes_share_a_step_without_overlap(
    counts: list[int], processes: int, seed: int, first_batch: int
) -> None:
    """A step of P processes has the draws of one with P times the batch; shards are not shared."""
    alone = StreamOrder(counts, 3 * processes, seed, first_batch)
    shared = [
        StreamOrder(counts, 3, seed, first_batch, process, processes)
        for process in range(processes)
    ]
    shard_of = [number for number, count in enumerate(counts) for _ in range(count)]
    read: list[set[int]] = [set() for _ in shared]
    for whole, *parts in islice(zip(alone, *shared, strict=True), 30):
        assert sorted(key for part in parts for key in part) == sorted(whole)
        for process, part in enumerate(parts):
            read[process] |= {shard_of[row] for row, _ in part}
    assert sum(map(len, read)) == len(set.union(*read))


@given(counts=ROWS, seen=st.integers(0, 50), size=st.integers(1, 4))
def test_it_resumes_anywhere(counts: list[int], seen: int, size: int) -> None:
    whole = list(islice(StreamOrder(counts, size, 7), seen + 5))
    assert list(islice(StreamOrder(counts, size, 7, first_batch=seen), 5)) == whole[seen:]


def test_the_seed_decides() -> None:
    counts = [4] * 16
    orders = [rows_of(StreamOrder(counts, 8, seed), 8) for seed in (0, 0, 1)]
    assert orders[0] == orders[1] != orders[2]


def test_lanes_that_do_not_fit_are_refused() -> None:
    assert StreamOrder([5] * 7, 2, 0).num_lanes == 4
    with pytest.raises(InputError, match=r"data\.lanes=9 exceeds the 8 shards"):
        StreamOrder([5] * 8, 2, 0, lanes=9)
    with pytest.raises(InputError, match=r"data\.lanes=8 must be a multiple of the 3 processes"):
        StreamOrder([5] * 8, 2, 0, num_processes=3)
