"""Running an exported checkpoint as other programs do: onnxruntime opens files by their paths."""

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch


def run_part(folder: Path, part: str, **inputs: torch.Tensor) -> dict[str, torch.Tensor]:
    """Outputs of a part by name."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        folder / f"{part}.onnx", options, providers=["CPUExecutionProvider"]
    )
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
