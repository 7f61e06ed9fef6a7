"""Recovering from a call that ran out of memory."""

import traceback

import torch


def is_out_of_memory(error: BaseException | None) -> bool:
    """Whether an exception, or one of its causes, says that memory ran out, on a GPU or a CPU."""
    while error is not None:
        if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
            return True
        if isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


def release_memory_of(error: BaseException) -> None:
    """Drop what a failed call computed, and give the memory back to the GPU's other calls.

    An exception's traceback holds the frames of the failed call, and they hold its tensors, which
    are almost all of the memory. Call this outside of the `except` block, which holds them too.
    """
    causes: BaseException | None = error
    while causes is not None:
        traceback.clear_frames(causes.__traceback__)
        causes = causes.__cause__ or causes.__context__
    if is_out_of_memory(error):
        torch.cuda.empty_cache()
