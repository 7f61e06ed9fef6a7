"""Running a graph by onnxruntime, and comparing it with torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import onnxruntime
import torch

from riffusion.errors import CheckpointError
from riffusion.exporting.graph import cannot_hold
from riffusion.exporting.parts import Part, Sizes

Arrays = tuple[npt.NDArray[np.float32], ...]

TOLERANCE = 1e-4
"""Largest difference to torch that rounding explains, relative to the largest value. Measured: up
to 1e-6 for the embedded checkpoint's parts."""
_ERRORS_ONLY = 3
_SEED = 1


class Comparison(NamedTuple):
    """The largest difference to torch.

    Args:
        difference: largest absolute difference.
        tolerance: most that it may be.
    """

    difference: float
    tolerance: float


def torch_outputs(part: Part, sizes: Sequence[Sizes]) -> list[Arrays]:
    """Outputs of a part in torch, for random inputs of each of `sizes`."""
    found = []
    for size in sizes:
        with torch.inference_mode():
            output = part.module(*_inputs(part, size).values())
        outputs = output if isinstance(output, tuple) else (output,)
        found.append(tuple(tensor.numpy() for tensor in outputs))
    return found


def onnx_outputs(graph: bytes, folder: Path, part: Part, sizes: Sequence[Sizes]) -> list[Arrays]:
    """Outputs of a graph for the same inputs.

    Args:
        graph: the serialized graph.
        folder: the folder that its weights' paths are relative to.

    Raises:
        CheckpointError: onnxruntime can't run it.
    """
    try:
        session = _session(graph, folder)
        return [
            tuple(session.run(None, {k: v.numpy() for k, v in _inputs(part, size).items()}))
            for size in sizes
        ]
    except Exception as error:  # onnxruntime's exceptions have no common class
        raise cannot_hold(part, error) from error


def compare(found: Sequence[Arrays], expected: Sequence[Arrays]) -> Comparison:
    """The largest difference between outputs; NaN if a value is not finite."""
    pairs = [
        (ours, theirs)
        for outputs, references in zip(found, expected, strict=True)
        for ours, theirs in zip(outputs, references, strict=True)
    ]
    largest = max(float(np.abs(theirs).max()) for _, theirs in pairs)
    differences = [float(np.abs(ours - theirs).max()) for ours, theirs in pairs]
    return Comparison(float(np.max(differences)), TOLERANCE * max(1.0, largest))


def check(comparison: Comparison, part: Part) -> None:
    """Check that a graph computes what torch does.

    Raises:
        CheckpointError: the difference is larger than the tolerance, or not finite.
    """
    if not comparison.difference <= comparison.tolerance:
        raise CheckpointError(
            f"{part.name}: onnxruntime's outputs differ from torch's by "
            f"{comparison.difference:.2g}, and at most {comparison.tolerance:.2g} are allowed; "
            "nothing was written, use the checkpoint with torch"
        )


def _inputs(part: Part, size: Sizes) -> dict[str, torch.Tensor]:
    return part.random_inputs(size, torch.Generator().manual_seed(_SEED))


def _session(graph: bytes, folder: Path) -> Any:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _ERRORS_ONLY
    options.add_session_config_entry(
        "session.model_external_initializers_file_folder_path", str(folder)
    )
    # Threads that wait sleep: torch's threads need the cores as well.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
