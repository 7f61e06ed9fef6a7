"""OpenMP teams, of which a process should keep one.

PyTorch computes on a CPU with a team of threads for each thread that calls it, as many as there are
cores, and the team stays until its caller ends. Where they are more than the cores, GNU's runtime
takes the machine for overloaded: threads that wait for the next piece of work go to sleep at once,
also while all other teams rest, and waking them costs a UNet call half of its time again.
"""

import ctypes
import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from threadpoolctl import ThreadpoolController


@contextmanager
def single_threaded() -> Iterator[None]:
    """In this block, the thread that enters it computes alone; the others as before.

    For what is computed once in a while beside a thread that computes all the time.
    """
    torch.get_num_threads()  # PyTorch chooses a thread's number when it is first called there
    limit_mkl = _mkl_set_num_threads_local()
    with _controller().limit(limits=1):
        before = limit_mkl(1)
        try:
            yield
        finally:
            limit_mkl(before)


@functools.cache
def _controller() -> ThreadpoolController:
    return ThreadpoolController().select(user_api="openmp")


@functools.cache
def _mkl_set_num_threads_local() -> Callable[[int], int]:
    """Of the MKL inside PyTorch, which has a number of its own for its teams, 0 for the process's.

    It takes the calling thread's number and returns the one before. PyTorch for other processors
    than x86 has no MKL.
    """
    libraries = Path(torch.__file__).parent / "lib"
    try:
        function = ctypes.CDLL(str(libraries / "libtorch_cpu.so")).MKL_Set_Num_Threads_Local
    except (OSError, AttributeError):
        return lambda number: 0
    return lambda number: int(function(number))
