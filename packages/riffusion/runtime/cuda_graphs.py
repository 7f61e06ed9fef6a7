"""UNet calls through CUDA graphs, which remove the time between kernels.

A UNet of this size runs about a thousand kernels, and each takes less time than Python needs to
launch the next. A CUDA graph records them once and replays them with one launch. Graphs have fixed
shapes: rows are padded to the next of a few batch sizes, and the padding's outputs are dropped.
Graphs are recorded before the first request. A call of another shape, such as that of a longer
clip, runs without a graph, so no request waits for a recording.
"""

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

import torch

BATCH_SIZES = (1, 2, 4, 6, 8, 12, 16)
"""Numbers of rows that graphs are recorded for; larger calls run without a graph."""
_WARM_UP_CALLS = 3
"""Calls before recording, in which libraries choose their kernels and allocate their memory."""

Inputs = tuple[torch.Tensor, ...]


@dataclass(frozen=True)
class _Recorded:
    """A graph, and the tensors that it reads from and writes to."""

    graph: Any
    inputs: Inputs
    output: torch.Tensor


class CudaGraphRunner:
    """Calls a UNet, through a CUDA graph if one is recorded. Not thread-safe."""

    def __init__(self) -> None:
        self._recorded: dict[Hashable, _Recorded] = {}
        self._memory: Any = None
        self._stream: Any = None

    def __call__(
        self,
        unet: Any,
        rows: torch.Tensor,
        timesteps: torch.Tensor,
        embeddings: torch.Tensor,
        mask: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Call the UNet.

        Args:
            unet: a `UNet2DConditionModel`.
            rows: (rows, channels, height, width).
            timesteps: (rows,), floating-point: some samplers' timesteps aren't whole numbers.
            embeddings: (rows, tokens, width).
            mask: (rows, tokens), 1 where a token counts; None if all do.

        Returns:
            The UNet's output, same shape as `rows`.
        """
        size = padded_size(len(rows))
        if mask is None and size is not None and self._recorded:
            inputs = tuple(_padded(tensor, size) for tensor in (rows, timesteps, embeddings))
            recorded = self._recorded.get(_key(unet, inputs))
            if recorded is not None:
                for static, tensor in zip(recorded.inputs, inputs, strict=True):
                    static.copy_(tensor)
                recorded.graph.replay()
                return recorded.output[: len(rows)].clone()
        return _call(unet, rows, timesteps, embeddings, mask)

    def record(
        self,
        unet: Any,
        rows: torch.Tensor,
        timesteps: torch.Tensor,
        embeddings: torch.Tensor,
    ) -> None:
        """Record a graph for calls of these shapes. CUDA only.

        Args:
            unet, rows, timesteps, embeddings: see `__call__`. Values don't matter; the number of
                rows is one of `BATCH_SIZES`.
        """
        static = tuple(tensor.clone() for tensor in (rows, timesteps, embeddings))
        self._memory = self._memory or torch.cuda.graph_pool_handle()
        self._on_side_stream(lambda: [_call(unet, *static) for _ in range(_WARM_UP_CALLS)])
        graph = torch.cuda.CUDAGraph()
        # thread_local: other threads, which compute audio on this device, may continue meanwhile.
        with torch.cuda.graph(graph, pool=self._memory, capture_error_mode="thread_local"):
            output = _call(unet, *static)
        self._recorded[_key(unet, static)] = _Recorded(graph, static, output)

    def forget(self) -> None:
        """Drop all graphs. Call it before weights move: graphs read their recorded addresses."""
        self._recorded.clear()

    def _on_side_stream(self, work: Callable[[], object]) -> None:
        self._stream = self._stream or torch.cuda.Stream()  # type: ignore[no-untyped-call] # torch is half typed
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            work()
        torch.cuda.current_stream().wait_stream(self._stream)


def _call(
    unet: Any,
    rows: torch.Tensor,
    timesteps: torch.Tensor,
    embeddings: torch.Tensor,
    mask: torch.Tensor | None = None,
) -> torch.Tensor:
    output: torch.Tensor = unet(
        rows,
        timesteps,
        encoder_hidden_states=embeddings,
        encoder_attention_mask=mask,
        return_dict=False,
    )[0]
    return output


def _key(unet: Any, inputs: Inputs) -> Hashable:
    """Calls of equal keys can use the same graph."""
    return id(unet), tuple((tensor.shape, tensor.dtype, tensor.device) for tensor in inputs)


def padded_size(num_rows: int) -> int | None:
    """The smallest of `BATCH_SIZES` that is at least `num_rows`, or None."""
    return next((size for size in BATCH_SIZES if size >= num_rows), None)


def _padded(tensor: torch.Tensor, size: int) -> torch.Tensor:
    """Repeat the last row until there are `size` rows."""
    missing = size - len(tensor)
    if missing == 0:
        return tensor
    return torch.cat([tensor, tensor[-1:].expand(missing, *tensor.shape[1:])])
