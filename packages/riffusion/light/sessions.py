"""Opens exported graphs with onnxruntime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from riffusion.errors import CheckpointError, InputError
from riffusion.runtime.processors import num_usable_cpus


def open_session(graph: Path, *, spinning: bool = False) -> Any:
    """A session, `onnxruntime.InferenceSession`, on the CPU.

    Args:
        graph: an exported part, beside the weights that it refers to.
        spinning: whether idle threads wait actively. A single clip is then drawn a little sooner,
            but several sessions, or other work on the machine, become much slower.

    Raises:
        CheckpointError: the graph or its weights can't be read.
        InputError: onnxruntime isn't installed.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise InputError(
            "drawing without PyTorch needs onnxruntime; pip install onnxruntime", "engine"
        ) from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = num_usable_cpus()
    options.add_session_config_entry("session.intra_op.allow_spinning", "1" if spinning else "0")
    options.log_severity_level = 3  # errors, which are raised, too
    try:
        return onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime has an exception for each of its status codes
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise CheckpointError(
            f"{graph} can't be opened ({reason}); export the checkpoint again with "
            "`riffusion export`"
        ) from error
