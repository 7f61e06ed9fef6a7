"""Limiting a process to one OpenMP thread team.

On a CPU, each thread that calls PyTorch gets its own OpenMP team, with one thread per core, and the
team exists until the calling thread ends. If all teams together have more threads than there are
cores, GNU's OpenMP runtime assumes that the machine is overloaded. Waiting threads then sleep at
once, even if all other teams are idle, and waking them makes a UNet call 1.5 times as long.
"""

import ctypes
import functools
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from threadpoolctl import ThreadpoolController


@contextmanager
def single_threaded() -> Iterator[None]:
    """Make the calling thread compute without a team in this block; other threads are unaffected.

    Meant for occasional computations beside a thread that computes all the time.
    """
    if "torch" not in sys.modules:  # then the only team is that of onnxruntime's session
        yield
        return
    import torch

    torch.get_num_threads()  # PyTorch sets a thread's team size at its first call in that thread
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
    """The function of PyTorch's MKL that sets the calling thread's team size.

    It takes the new size and returns the previous one; 0 stands for the process's default. PyTorch
    has MKL only on x86 processors; elsewhere the returned function does nothing.
    """
    import torch

    libraries = Path(torch.__file__).parent / "lib"
    try:
        function = ctypes.CDLL(str(libraries / "libtorch_cpu.so")).MKL_Set_Num_Threads_Local
    except (OSError, AttributeError):
        return lambda number: 0
    return lambda number: int(function(number))
