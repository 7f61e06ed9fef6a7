"""Running an exported checkpoint as other programs do: onnxruntime opens files by their paths."""

import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch

GRAPHS = {"text_encoder.onnx", "unet.onnx", "vae_encoder.onnx", "vae_decoder.onnx"}
DISK_BYTES = 20_000
"""Largest file of a disk that is full: the graph of the text encoder, not that of the UNet."""


@lru_cache(maxsize=8)
def _session(graph: Path) -> onnxruntime.InferenceSession:
    """Opened once, which takes longer than to run it; folders of fixtures don't change."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def run_part(folder: Path, part: str, **inputs: torch.Tensor) -> dict[str, torch.Tensor]:
    """Outputs of a part by name."""
    session = _session(folder / f"{part}.onnx")
    names = [output.name for output in session.get_outputs()]
    found = session.run(names, {name: value.numpy() for name, value in inputs.items()})
    return {name: torch.from_numpy(value) for name, value in zip(names, found, strict=True)}


def files_of(folder: Path) -> dict[str, bytes]:
    """All files below a folder."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def assert_close(found: torch.Tensor, expected: torch.Tensor, tolerance: float = 2e-5) -> None:
    """Equal up to rounding, relative to the largest value."""
    assert found.shape == expected.shape
    largest = max(1.0, float(expected.abs().max()))
    assert float((found - expected).abs().max()) <= tolerance * largest


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    """Normally distributed values."""
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape).astype(np.float32))


def without_graphs(_: Any) -> None:
    """For `on_graph`, where nobody listens."""


@contextmanager
def full_disk() -> Iterator[Callable[[], None]]:
    """A function after which no file can be longer than `DISK_BYTES`, until the block ends."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        yield lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (DISK_BYTES, limits[1]))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
