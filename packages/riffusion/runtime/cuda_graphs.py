"""UNet calls, on CUDA without the time between kernels.

A UNet of this size has some thousand kernels, each shorter than Python takes to launch the next. A
CUDA graph records them once and replays them as one. It needs fixed shapes: rows are padded to the
next of a few batch sizes, and what comes out for the padding is dropped. Graphs are recorded before
the first request; what has other shapes, such as a longer clip, runs as it is, and nobody waits for
a recording.
"""

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

import torch

BATCH_SIZES = (1, 2, 4, 6, 8, 12, 16)
"""Rows that graphs are recorded for; larger calls run as they are."""
_WARM_UP_CALLS = 3
"""Before recording, so that libraries have chosen their kernels and allocated their memory."""

Inputs = tuple[torch.Tensor, ...]


@dataclass(frozen=True)
class _Recorded:
    """A graph with the memory that it reads from and writes to."""

    graph: Any
    inputs: Inputs
    output: torch.Tensor


class CudaGraphRunner:
    """Calls a UNet. Belongs to one thread at a time."""

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
        """The UNet's output.

        Args:
            unet: a `UNet2DConditionModel`.
            rows: (rows, channels, height, width).
            timesteps: (rows,), floating-point, as samplers have them between whole numbers.
            embeddings: (rows, tokens, width).
            mask: (rows, tokens), 1 where a token counts; None if all do.

        Returns:
            As `rows`.
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
        """Record the call of these shapes, on CUDA; elsewhere nothing.

        Args:
            unet, rows, timesteps, embeddings: as in a call, of any values, as many rows as one of
                `BATCH_SIZES`.
        """
        if rows.device.type != "cuda":
            return
        static = tuple(tensor.clone() for tensor in (rows, timesteps, embeddings))
        self._memory = self._memory or torch.cuda.graph_pool_handle()
        self._on_side_stream(lambda: [_call(unet, *static) for _ in range(_WARM_UP_CALLS)])
        graph = torch.cuda.CUDAGraph()
        # Other threads, which make sound on the same device, may go on in the meantime.
        with torch.cuda.graph(graph, pool=self._memory, capture_error_mode="thread_local"):
            output = _call(unet, *static)
        self._recorded[_key(unet, static)] = _Recorded(graph, static, output)

    def forget(self) -> None:
        """Drop all graphs, which read the weights where they were when recorded."""
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
    """What two calls must have in common to be the same graph."""
    return id(unet), tuple((tensor.shape, tensor.dtype, tensor.device) for tensor in inputs)


def padded_size(num_rows: int) -> int | None:
    """The smallest of `BATCH_SIZES` that holds so many rows, or None."""
    return next((size for size in BATCH_SIZES if size >= num_rows), None)


def _padded(tensor: torch.Tensor, size: int) -> torch.Tensor:
    """`tensor` with its last row repeated until there are `size`."""
    missing = size - len(tensor)
    if missing == 0:
        return tensor
    return torch.cat([tensor, tensor[-1:].expand(missing, *tensor.shape[1:])])
