"""What this process does with memory that it has freed; options have an effect with glibc only."""

import ctypes
import gc
import os
import sys
from typing import Any

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
"""Parameters of `mallopt`, from glibc's malloc.h."""
_LARGEST_KEPT_BLOCK = 2**30
"""In bytes; larger than the VAE's tensors at the usual image sizes."""
_LARGEST_IN_OLD_GLIBC = 2**25
"""The most that its manual allows; newer ones take more."""
_MAX_ARENAS = 4


def keep_freed_memory() -> None:
    """Make this process keep freed memory for later tensors.

    By default, glibc returns blocks above 32 MiB to the system when a tensor is freed, and the next
    tensor's memory is mapped again page by page. That costs up to a third of the time of large
    convolutions on a CPU.
    """
    if not _set_option(_M_MMAP_THRESHOLD, _LARGEST_KEPT_BLOCK):
        _set_option(_M_MMAP_THRESHOLD, _LARGEST_IN_OLD_GLIBC)
    _set_option(_M_TRIM_THRESHOLD, _LARGEST_KEPT_BLOCK)


def share_freed_memory() -> None:
    """Make the threads of this process use each other's freed memory.

    By default, glibc gives each thread an arena of its own, up to eight per core, and each of them
    grows to the most that its threads have ever needed. A number of arenas that the environment
    sets is kept.
    """
    if "MALLOC_ARENA_MAX" in os.environ or "arena_max" in os.environ.get("GLIBC_TUNABLES", ""):
        return
    _set_option(_M_ARENA_MAX, _MAX_ARENAS)


def keep_loaded_objects() -> None:
    """Let the garbage collector pass over all that is alive now; call it after loading."""
    gc.collect()
    gc.freeze()


def return_freed_memory() -> None:
    """Return freed memory to the system, also what only refers to itself.

    Exceptions do so, and hold the images and the audio of the calls that they went through. The
    counterpart of `keep_freed_memory`, with which memory is kept otherwise. After
    `keep_loaded_objects` it takes milliseconds, elsewhere a tenth of a second or two, and the next
    clip some milliseconds more, for its memory is mapped again.
    """
    gc.collect()
    malloc_trim = _function_of_glibc("malloc_trim")
    if malloc_trim is not None:
        malloc_trim(0)


def _set_option(name: int, value: int) -> bool:
    """Whether glibc took the option."""
    mallopt = _function_of_glibc("mallopt")
    return mallopt is not None and bool(mallopt(name, value))


def _function_of_glibc(name: str) -> Any:
    return getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None
