"""Worker processes that compute with one thread each, and end when their parent ends."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any

from threadpoolctl import threadpool_limits

from riffusion.errors import RiffusionError

THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
"""Environment variables with the number of threads of OpenMP, OpenBLAS and MKL."""


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
    # Processes are spawned, because threads of libraries don't survive a fork.
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
def one_thread() -> Iterator[None]:
    """Compute with one thread, as a pool's processes do, so that sums round equally."""
    with threadpool_limits(1):
        yield


def _start(prepare: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends the process without a traceback
    threading.Thread(target=_end_with_parent, daemon=True).start()
    # The number of processes already sets the parallelism. The variables are for libraries that
    # are loaded later, the limits for those that are loaded now.
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, "1"))
    prepare(*arguments)
    threadpool_limits(1)


def _end_with_parent() -> None:
    """End this process when its parent does; it would wait for work forever if that is killed."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
