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
from riffusion.light.sessions import session_options

Arrays = tuple[npt.NDArray[np.float32], ...]

TOLERANCE = 1e-4
"""Largest difference to torch that rounding explains, relative to the output's largest value.
Measured: up to 1e-6 for the embedded checkpoint's parts."""
_SEED = 1


class Comparison(NamedTuple):
    """The largest difference to torch of one output.

    Args:
        difference: largest absolute difference.
        tolerance: most that it may be.
    """

    difference: float
    tolerance: float

    @property
    def is_within(self) -> bool:
        """Whether the difference is allowed; one that isn't finite never is."""
        return self.difference <= self.tolerance

    @property
    def share(self) -> float:
        """The difference as a share of the tolerance."""
        if not self.is_within and not self.tolerance:
            return np.inf
        share = self.difference / self.tolerance if self.difference else 0.0
        return np.inf if np.isnan(share) else share


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
    """Compare outputs with torch's.

    Args:
        found, expected: the outputs of each run, in one order.

    Returns:
        The comparison of the output that is nearest to its own tolerance: a VAE's latents and
        their deviation, for example, are of different sizes.
    """
    by_output = zip(zip(*found, strict=True), zip(*expected, strict=True), strict=True)
    return max((_compared(*runs) for runs in by_output), key=lambda it: it.share)


def _compared(found: Arrays, expected: Arrays) -> Comparison:
    pairs = list(zip(found, expected, strict=True))
    largest = max(float(np.abs(theirs).max()) for _, theirs in pairs)
    difference = np.max([np.abs(ours - theirs).max() for ours, theirs in pairs])  # keeps NaN
    return Comparison(float(difference), TOLERANCE * largest)


def check(comparison: Comparison, part: Part) -> None:
    """Check that a graph computes what torch does.

    Raises:
        CheckpointError: the difference is larger than the tolerance, or not finite.
    """
    if not comparison.is_within:
        raise CheckpointError(
            f"{part.name}: onnxruntime's outputs differ from torch's by "
            f"{comparison.difference:.2g}, and at most {comparison.tolerance:.2g} are allowed; "
            "nothing was written, use the checkpoint with torch"
        )


def _inputs(part: Part, size: Sizes) -> dict[str, torch.Tensor]:
    return part.random_inputs(size, torch.Generator().manual_seed(_SEED))


def _session(graph: bytes, folder: Path) -> Any:
    options = session_options()
    options.add_session_config_entry(
        "session.model_external_initializers_file_folder_path", str(folder)
    )
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
