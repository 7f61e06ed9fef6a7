"""Processes that work side by side: one torch thread each, ended with the one that started them."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any

from riffusion.errors import RiffusionError


@contextmanager
def process_pool(
    num_processes: int, prepare: Callable[..., None], arguments: tuple[Any, ...]
) -> Iterator[ProcessPoolExecutor]:
    """A pool of processes, which waits at the end for what they have begun.

    Args:
        num_processes: how many.
        prepare: called once in each process.
        arguments: what it is called with.

    Raises:
        RiffusionError: a process died, and a result of the pool was asked for.
    """
    # Spawned, since threads of torch and of FluidSynth don't survive a fork.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(num_processes, context, _start, (prepare, arguments))
    try:
        yield pool
    except BrokenProcessPool as error:
        raise RiffusionError(
            "a process died, perhaps for want of memory; run the same command again, with fewer "
            "processes"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def one_torch_thread() -> Iterator[None]:
    """As in the processes of a pool, so that sums are rounded alike."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _start(prepare: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends it, without a traceback
    threading.Thread(target=_end_with_parent, daemon=True).start()
    import torch

    torch.set_num_threads(1)  # there are as many processes as are to be used
    prepare(*arguments)


def _end_with_parent() -> None:
    """A pool's processes would wait for work for ever, were their parent killed."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
