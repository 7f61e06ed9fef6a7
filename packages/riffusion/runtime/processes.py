"""Worker processes with one torch thread each, which end when their parent ends."""

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
    """A pool of worker processes. At the end of the block, it waits for the running calls.

    Args:
        num_processes: number of processes.
        prepare: called once in each process.
        arguments: arguments of `prepare`.

    Raises:
        RiffusionError: a process died, and the block then used the pool or a result.
    """
    # Processes are spawned, because the threads of torch and FluidSynth don't survive a fork.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(num_processes, context, _start, (prepare, arguments))
    try:
        yield pool
    except BrokenProcessPool as error:
        raise RiffusionError(
            "a worker process died, perhaps because memory ran out; run the same command again "
            "with fewer processes"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def one_torch_thread() -> Iterator[None]:
    """Compute with one torch thread, as a pool's processes do, so that sums round equally."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _start(prepare: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends the process without a traceback
    threading.Thread(target=_end_with_parent, daemon=True).start()
    import torch

    torch.set_num_threads(1)  # the number of processes already sets the parallelism
    prepare(*arguments)


def _end_with_parent() -> None:
    """End this process when its parent does; it would wait for work forever if that is killed."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
