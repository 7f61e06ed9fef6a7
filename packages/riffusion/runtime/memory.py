"""Recovering from a call that ran out of memory."""

import sys
import traceback

_ON_CPUS = "DefaultCPUAllocator: "
"""In PyTorch's exceptions, which are plain RuntimeErrors on a CPU."""
_IN_ONNXRUNTIME = "Failed to allocate memory"
"""In exceptions of onnxruntime, which has a class for each status code, but none for this."""


def is_out_of_memory(error: BaseException | None) -> bool:
    """Whether an exception, or one of its causes, says that memory ran out, on a GPU or a CPU."""
    torch = sys.modules.get("torch")  # what isn't imported has raised nothing
    while error is not None:
        if isinstance(error, MemoryError):
            return True
        if torch is not None and isinstance(error, torch.OutOfMemoryError):
            return True
        if type(error) is RuntimeError and _ON_CPUS in str(error):
            return True
        is_of_onnxruntime = type(error).__module__.startswith("onnxruntime.")
        if is_of_onnxruntime and _IN_ONNXRUNTIME in str(error):
            return True
        error = _cause(error)
    return False


def _cause(error: BaseException) -> BaseException | None:
    """What an exception was raised from, unless that was to be forgotten (`from None`)."""
    return error.__cause__ or (None if error.__suppress_context__ else error.__context__)


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
