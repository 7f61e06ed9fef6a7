"""Recovering from a call that ran out of memory."""

import sys
import traceback

_MESSAGES = ("DefaultCPUAllocator", "Failed to allocate memory")
"""In exceptions of PyTorch on CPUs, and of onnxruntime."""


def is_out_of_memory(error: BaseException | None) -> bool:
    """Whether an exception, or one of its causes, says that memory ran out, on a GPU or a CPU."""
    torch = sys.modules.get("torch")  # what isn't imported has raised nothing
    while error is not None:
        if isinstance(error, MemoryError):
            return True
        if torch is not None and isinstance(error, torch.OutOfMemoryError):
            return True
        if any(message in str(error) for message in _MESSAGES):
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
    torch = sys.modules.get("torch")
    if torch is not None and is_out_of_memory(error):
        torch.cuda.empty_cache()
