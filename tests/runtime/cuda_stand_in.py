"""CUDA graphs on the CPU: recording notes the operations, replaying repeats them.

Like a real graph, a replay reads its inputs and writes its outputs where they were when recorded,
and runs no Python of the model.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class GraphStandIn:
    """In place of `torch.cuda.CUDAGraph`."""

    def __init__(self) -> None:
        self.operations: list[tuple[Any, tuple[Any, ...], dict[str, Any], Any]] = []

    def replay(self) -> None:
        for operation, arguments, options, outputs in self.operations:
            repeated = operation(*arguments, **options)
            for output, value in zip(tree_leaves(outputs), tree_leaves(repeated), strict=True):
                if isinstance(output, torch.Tensor):
                    output.copy_(value)


class _Recording(TorchDispatchMode):
    def __init__(self, graph: GraphStandIn) -> None:
        super().__init__()
        self._graph = graph

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        outputs = func(*args, **(kwargs or {}))
        self._graph.operations.append((func, args, kwargs or {}, outputs))
        return outputs


class StreamStandIn:
    """In place of `torch.cuda.Stream`; counts waits of the CPU for the GPU."""

    num_synchronizations = 0

    def wait_stream(self, stream: StreamStandIn) -> None:
        """Nothing to wait for: the CPU computes in order."""

    def synchronize(self) -> None:
        StreamStandIn.num_synchronizations += 1


@contextlib.contextmanager
def _recording(graph: GraphStandIn, **_: object) -> Iterator[None]:
    with _Recording(graph):
        yield


def install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put the stand-ins in place of torch's classes and functions."""
    monkeypatch.setattr(StreamStandIn, "num_synchronizations", 0)
    for name, stand_in in {
        "CUDAGraph": GraphStandIn,
        "graph": _recording,
        "graph_pool_handle": object,
        "Stream": StreamStandIn,
        "stream": lambda stream: contextlib.nullcontext(),
        "set_stream": lambda stream: None,
        "current_stream": lambda device=None: StreamStandIn(),
    }.items():
        monkeypatch.setattr(torch.cuda, name, stand_in)
