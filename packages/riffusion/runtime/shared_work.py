"""Threads that share work with the calling one, for functions that leave Python's lock."""

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, wait
from functools import cache, partial
from typing import TypeVar

from riffusion.runtime.processors import num_usable_cpus

First = TypeVar("First")
Second = TypeVar("Second")
Result = TypeVar("Result")


def share(tasks: Iterable[Callable[[], None]]) -> None:
    """Run all tasks, in this thread and in others that are free.

    It waits for no busy thread: the calling one then does all the work by itself.

    Raises:
        Exception: that of a task; some of the others may not have run.
    """
    tasks = list(tasks)
    remaining = iter(tasks)

    def work() -> None:
        for task in remaining:  # the threads share the iterator
            task()

    threads, count = _other_threads()
    helpers = [threads.submit(work) for _ in range(min(count, len(tasks) - 1))]
    try:
        work()
    finally:
        started = [helper for helper in helpers if not helper.cancel()]
        wait(started)
    for helper in started:
        helper.result()  # raises its exception, if any


def together(first: Callable[[], First], second: Callable[[], Second]) -> tuple[First, Second]:
    """The results of two functions, which run at the same time if a thread is free."""
    firsts: list[First] = []
    seconds: list[Second] = []
    share([partial(_keep, first, firsts), partial(_keep, second, seconds)])
    return firsts[0], seconds[0]


def _keep(function: Callable[[], Result], results: list[Result]) -> None:
    results.append(function())


@cache
def _other_threads() -> tuple[ThreadPoolExecutor, int]:
    """Threads that compute beside the calling one, and their number."""
    count = num_usable_cpus() - 1
    return ThreadPoolExecutor(max(1, count), "shared work"), count


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_other_threads.cache_clear)  # threads don't survive a fork
