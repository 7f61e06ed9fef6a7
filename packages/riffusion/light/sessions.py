"""Runs exported graphs with onnxruntime."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from riffusion.errors import CheckpointError, InputError
from riffusion.runtime.pace import Pace
from riffusion.runtime.processors import num_compute_threads
from riffusion.spectrogram.image import FloatArray

MAX_POSITIONS = 4096
"""Positions of latents per call: four usual clips of the embedded checkpoint, one of Stable
Diffusion. More rows than that are computed one after the other, which takes no longer on a CPU."""
_GIVE_BACK_S = 10.0
"""The sessions' memory is given back this often, if they are used: unusual shapes take more."""
_gives_back = Pace(_GIVE_BACK_S)
_is_memory_shared = False


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

    def run(self, inputs: Mapping[str, Any], positions: int = 0) -> dict[str, FloatArray]:
        """The outputs by name, for inputs by name; opens the part at its first run.

        Args:
            inputs: with equally many rows.
            positions: height × width of a row's latents. Attention takes memory that grows with
                the square of it; what a row of more than `MAX_POSITIONS` takes is given back.
        """
        session = self.open()
        names = [output.name for output in session.get_outputs()]
        is_due = positions > MAX_POSITIONS or _gives_back.is_due()
        options = _giving_memory_back() if is_due else None
        num_rows = len(next(iter(inputs.values())))
        count = max(1, MAX_POSITIONS // positions) if positions else num_rows
        parts = [
            session.run(
                names, {key: rows[at : at + count] for key, rows in inputs.items()}, options
            )
            for at in range(0, num_rows, count)
        ]
        outputs = parts[0] if len(parts) == 1 else map(np.concatenate, zip(*parts, strict=True))
        return dict(zip(names, outputs, strict=True))


def share_memory() -> None:
    """Let the sessions that this process opens from now on take memory from one arena.

    They hardly ever run at once, so they need less together than each with an arena of its own.
    It is for a process that keeps its sessions, such as a server: the arena outlives them, and
    is the one that all of this process' code gets from onnxruntime.

    Raises:
        ImportError: onnxruntime isn't installed.
    """
    import onnxruntime

    global _is_memory_shared
    kind, use = onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, onnxruntime.OrtMemType.DEFAULT
    memory = onnxruntime.OrtMemoryInfo("Cpu", kind, 0, use)
    onnxruntime.create_and_register_allocator(memory, None)
    _is_memory_shared = True


def session_options(num_threads: int | None = None) -> Any:
    """How this project runs graphs: an `onnxruntime.SessionOptions`.

    Args:
        num_threads: threads per call; None for `num_compute_threads`.

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
    options.intra_op_num_threads = num_threads or num_compute_threads()
    # Threads that wait actively would slow other sessions, and other work on the machine.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if _is_memory_shared:
        options.add_session_config_entry("session.use_env_allocators", "1")
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


def _giving_memory_back() -> Any:
    """Options of a call after which onnxruntime keeps no memory for the next one.

    Otherwise it keeps what it has taken, and a call with another shape takes more. Without it
    altogether (`enable_cpu_mem_arena`), calls for clips of the usual length are a quarter slower.
    """
    import onnxruntime

    options = onnxruntime.RunOptions()
    options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
    return options
