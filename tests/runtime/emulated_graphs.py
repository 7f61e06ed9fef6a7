"""CUDA graphs and streams on the CPU: recording notes the operations, replaying repeats them.

Like a real graph, a replay reads its inputs and writes its outputs where they were when recorded,
and runs no Python of the model. `install` records operations of tensors on the CPU, which is fast;
`emulated_cuda` adds tensors that say `cuda:0`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class EmulationError(RuntimeError):
    """What CUDA would refuse."""


@dataclasses.dataclass
class Device:
    """What happened on the device since it was made, or since `clear`."""

    waits: Counter[str] = dataclasses.field(default_factory=Counter)
    num_operations: int = 0
    num_replays: int = 0
    recording: Graph | None = None
    refuse_recordings_of: set[int] = dataclasses.field(default_factory=set)
    """Numbers of rows whose recording fails."""

    @property
    def num_waits(self) -> int:
        return sum(self.waits.values())

    def clear(self) -> None:
        self.waits.clear()
        self.num_operations = self.num_replays = 0

    def wait(self, reason: str) -> None:
        """The CPU waits for the device, which isn't allowed while a graph is recorded."""
        if self.recording is not None:
            raise EmulationError(f"while a graph is recorded, {reason}")
        self.waits[f"{reason} in {_caller()}"] += 1


device = Device()
"""The one device; `install` replaces its state."""


class Graph:
    """In place of `torch.cuda.CUDAGraph`."""

    def __init__(self) -> None:
        self.operations: list[tuple[Any, Any, Any, Any]] = []

    def replay(self) -> None:
        device.num_replays += 1
        for func, args, kwargs, before in self.operations:
            for old, new in zip(
                tree_leaves(before), tree_leaves(func(*args, **kwargs)), strict=True
            ):
                if isinstance(old, torch.Tensor) and old.data_ptr() != new.data_ptr():
                    old.copy_(new)


class Stream:
    """In place of `torch.cuda.Stream`: work is done in order, so there is nothing to wait for."""

    priorities: ClassVar[list[int]] = []

    def __init__(self, device: Any = None, priority: int = 0) -> None:
        Stream.priorities.append(priority)

    def wait_stream(self, other: Stream) -> None:
        """Nothing to wait for."""

    def synchronize(self) -> None:
        device.wait("a stream is synchronized")


@contextlib.contextmanager
def record(graph: Graph, **_: object) -> Iterator[None]:
    device.recording = graph
    try:
        yield
    finally:
        device.recording = None


def _caller() -> str:
    """The innermost line of this project, or of diffusers' schedulers, that is being executed."""
    for frame in reversed(traceback.extract_stack()):
        if "/packages/riffusion/" in frame.filename or "/schedulers/" in frame.filename:
            return f"{frame.filename.rpartition('/')[2]}:{frame.lineno} {frame.name}"
    return "a test"


class _Recording(TorchDispatchMode):
    """Records all operations, of tensors on the CPU."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if device.recording is not None:
            device.recording.operations.append((func, args, kwargs or {}, result))
        return result


@contextlib.contextmanager
def _record_on_cpu(graph: Graph, **_: object) -> Iterator[None]:
    with record(graph), _Recording():
        yield


def stand_ins() -> dict[str, Callable[..., Any]]:
    """What stands in for torch.cuda's classes and functions, by name."""
    return {
        "CUDAGraph": Graph,
        "graph": record,
        "graph_pool_handle": object,
        "Stream": Stream,
        "stream": lambda stream: contextlib.nullcontext(),
        "set_stream": lambda stream: None,
        "current_stream": lambda device=None: Stream(),
    }


def install(monkeypatch: pytest.MonkeyPatch) -> Device:
    """Emulate graphs and streams for tensors on the CPU."""
    device.__init__()  # type: ignore[misc] # all fields as new
    for name, stand_in in (stand_ins() | {"graph": _record_on_cpu}).items():
        monkeypatch.setattr(torch.cuda, name, stand_in)
    return device
