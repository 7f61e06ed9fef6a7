"""What counts as a call that ran out of memory."""

import subprocess
import sys

import pytest
import torch

from riffusion.errors import GenerationError, InputError
from riffusion.runtime.memory import is_out_of_memory

OF_TORCH = "[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory"
OF_ONNXRUNTIME = """
import resource, sys
import numpy as np
from pathlib import Path
from riffusion.checkpoint.source import find_checkpoint
from riffusion.light.sessions import Session
from riffusion.runtime.memory import is_out_of_memory

session = Session(Path(find_checkpoint().location) / "vae_decoder.onnx")
latents = np.zeros((1, 16, 64, 1024), np.float32)
session.open()
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 200_000_000,) * 2)
try:
    session.run({"latents": latents})
except Exception as error:
    print(is_out_of_memory(error), type(error).__module__.partition(".")[0])
"""


def raised(error: BaseException, cause: BaseException | None = None) -> BaseException:
    try:
        try:
            if cause is not None:
                raise cause
        finally:
            raise error
    except BaseException as caught:
        return caught


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError(OF_TORCH),
        raised(GenerationError("failed"), MemoryError()),
    ],
    ids=repr,
)
def test_memory_ran_out(error: BaseException) -> None:
    assert is_out_of_memory(error)


def test_torch_says_so_on_a_cpu() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60, dtype=torch.uint8)
    assert is_out_of_memory(caught.value)


def test_onnxruntime_says_so() -> None:
    done = subprocess.run(
        [sys.executable, "-c", OF_ONNXRUNTIME], capture_output=True, text=True, check=False
    )
    assert done.stdout == "True onnxruntime\n", done.stderr


def test_texts_that_quote_the_words_are_something_else() -> None:
    for text in (OF_TORCH, "Failed to allocate memory"):
        assert not is_out_of_memory(InputError(f"{text!r} must be shorter", "prompt"))
        assert not is_out_of_memory(ValueError(text))
        assert not is_out_of_memory(OSError(text))
    assert not is_out_of_memory(None)


def test_what_was_to_be_forgotten_does_not_count() -> None:
    forgotten = raised(InputError("other"), MemoryError())
    assert is_out_of_memory(forgotten)
    forgotten.__suppress_context__ = True
    assert not is_out_of_memory(forgotten)
