"""When a service returns freed memory, with returns that are counted."""

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from riffusion.serving.model import memory_return
from riffusion.serving.model.memory_return import MemoryReturn
from tests.patience import PATIENCE_S

INTERVAL_S = 0.02


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[ThreadPoolExecutor]:
    monkeypatch.setattr(memory_return, "INTERVAL_S", INTERVAL_S)
    with ThreadPoolExecutor(1) as threads:
        yield threads


@pytest.fixture
def returns(monkeypatch: pytest.MonkeyPatch) -> list[None]:
    counted: list[None] = []
    monkeypatch.setattr(memory_return, "return_freed_memory", lambda: counted.append(None))
    return counted


async def wait_for(returns: list[None], count: int) -> None:
    """Until there are `count` returns, and no more."""
    async with asyncio.timeout(PATIENCE_S):
        while len(returns) < count:
            await asyncio.sleep(INTERVAL_S)
    await asyncio.sleep(10 * INTERVAL_S)
    assert len(returns) == count


def test_memory_is_returned_once_after_requests_that_have_ended(
    threads: ThreadPoolExecutor, returns: list[None]
) -> None:
    async def scenario() -> None:
        memory = MemoryReturn(threads, is_busy=lambda: False)
        for _ in range(3):
            memory.request_came()
        assert not returns
        await wait_for(returns, 1)
        memory.request_came()
        await wait_for(returns, 2)

    asyncio.run(scenario())


def test_memory_is_returned_while_a_request_is_at_work_and_once_after_it(
    threads: ThreadPoolExecutor, returns: list[None]
) -> None:
    left = [True] * 3

    async def scenario() -> None:
        MemoryReturn(threads, is_busy=lambda: bool(left and left.pop())).request_came()
        await wait_for(returns, 4)

    asyncio.run(scenario())
