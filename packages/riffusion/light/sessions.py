"""Runs exported graphs with onnxruntime."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from riffusion.errors import CheckpointError, InputError
from riffusion.runtime.processors import num_usable_cpus
from riffusion.spectrogram.image import FloatArray


class Session:
    """An exported part, which onnxruntime runs on the CPU. Several threads may use it.

    Args:
        graph: the part's graph, beside the weights that it refers to.
    """

    def __init__(self, graph: Path) -> None:
        self._graph = graph
        self._session: Any = None
        self._lock = threading.Lock()

    def open(self) -> Any:
        """Read the graph and its weights, unless that is done: `onnxruntime.InferenceSession`.

        Raises:
            CheckpointError: they can't be read.
            InputError: onnxruntime isn't installed.
        """
        with self._lock:
            if self._session is None:
                self._session = _opened(self._graph)
            return self._session

    def run(self, inputs: Mapping[str, Any]) -> dict[str, FloatArray]:
        """The outputs by name, for inputs by name; opens the part at its first run."""
        session = self.open()
        names = [output.name for output in session.get_outputs()]
        return dict(zip(names, session.run(names, dict(inputs)), strict=True))


def session_options(num_threads: int | None = None) -> Any:
    """How this project runs graphs: an `onnxruntime.SessionOptions`.

    Args:
        num_threads: threads per call; default: one per processor that the process may use.

    Raises:
        InputError: onnxruntime isn't installed.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise InputError(
            "drawing without PyTorch needs onnxruntime; pip install onnxruntime", "engine"
        ) from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = num_threads or num_usable_cpus()
    # Threads that wait actively would slow other sessions, and other work on the machine.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 4  # what is worse than a warning is raised, too
    return options


def _opened(graph: Path) -> Any:
    options = session_options()
    import onnxruntime

    try:
        return onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime has an exception for each of its status codes
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise CheckpointError(
            f"{graph} can't be opened ({reason}); export the checkpoint again with "
            "`riffusion export`"
        ) from error
