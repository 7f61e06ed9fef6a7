"""UNet calls, on CUDA without the time between kernels.

A UNet of this size has some thousand kernels, each shorter than Python takes to launch the next. A
CUDA graph records them once and replays them as one. It needs fixed shapes: rows are padded to the
next of a few batch sizes, and what comes out for the padding is dropped.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

import torch

BATCH_SIZES = (1, 2, 4, 6, 8, 12, 16)
"""Rows that graphs are recorded for; larger calls run as they are."""
MAX_GRAPHS = 24
"""Beyond which the one that was not used for longest is dropped."""
_WARM_UP_CALLS = 3
"""Before recording, so that libraries have chosen their kernels and allocated their memory."""

Inputs = tuple[torch.Tensor, ...]


@dataclass(frozen=True)
class _Recorded:
    """A graph with the memory that it reads from and writes to."""

    graph: Any
    inputs: Inputs
    output: torch.Tensor


class UNetRunner:
    """Calls a UNet. Belongs to one thread at a time.

    Args:
        unet: a `UNet2DConditionModel`, wherever it is; it may be moved between calls.
    """

    def __init__(self, unet: Any) -> None:
        self._unet = unet
        self._recorded: OrderedDict[Hashable, _Recorded] = OrderedDict()
        self._memory: Any = None

    def __call__(
        self,
        rows: torch.Tensor,
        timesteps: torch.Tensor,
        embeddings: torch.Tensor,
        mask: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """The UNet's output.

        Args:
            rows: (rows, channels, height, width).
            timesteps: (rows,).
            embeddings: (rows, tokens, width).
            mask: (rows, tokens), 1 where a token counts; None if all do.

        Returns:
            As `rows`.
        """
        inputs = (rows, timesteps, embeddings)
        size = padded_size(len(rows))
        if mask is not None or rows.device.type != "cuda" or size is None:
            return self._call(*inputs, mask)
        recorded = self._find(tuple(_padded(tensor, size) for tensor in inputs))
        return recorded.output[: len(rows)].clone()

    def _call(
        self,
        rows: torch.Tensor,
        timesteps: torch.Tensor,
        embeddings: torch.Tensor,
        mask: torch.Tensor | None = None,
    ) -> torch.Tensor:
        output: torch.Tensor = self._unet(
            rows,
            timesteps,
            encoder_hidden_states=embeddings,
            encoder_attention_mask=mask,
            return_dict=False,
        )[0]
        return output

    def _find(self, inputs: Inputs) -> _Recorded:
        """The graph for these shapes, replayed on these inputs; recorded if it is the first."""
        rows, _, embeddings = inputs
        key = (rows.shape, rows.dtype, rows.device, embeddings.shape, id(self._weights()))
        recorded = self._recorded.pop(key, None) or self._record(inputs)
        self._recorded[key] = recorded  # the newest is last
        while len(self._recorded) > MAX_GRAPHS:
            self._recorded.popitem(last=False)
        for static, tensor in zip(recorded.inputs, inputs, strict=True):
            static.copy_(tensor)
        recorded.graph.replay()
        return recorded

    def _record(self, inputs: Inputs) -> _Recorded:
        static = tuple(tensor.clone() for tensor in inputs)
        self._memory = self._memory or torch.cuda.graph_pool_handle()
        _on_side_stream(lambda: [self._call(*static) for _ in range(_WARM_UP_CALLS)])
        graph = torch.cuda.CUDAGraph()
        # Other threads, which make sound on the same device, may go on in the meantime.
        with torch.cuda.graph(graph, pool=self._memory, capture_error_mode="thread_local"):
            output = self._call(*static)
        return _Recorded(graph, static, output)

    def _weights(self) -> torch.Tensor:
        """A weight that is another tensor once the UNet was moved or replaced."""
        weight: torch.Tensor = next(self._unet.parameters())
        return weight


def padded_size(num_rows: int) -> int | None:
    """The smallest of `BATCH_SIZES` that holds so many rows, or None."""
    return next((size for size in BATCH_SIZES if size >= num_rows), None)


def _padded(tensor: torch.Tensor, size: int) -> torch.Tensor:
    """`tensor` with its last row repeated until there are `size`."""
    missing = size - len(tensor)
    if missing == 0:
        return tensor
    return torch.cat([tensor, tensor[-1:].expand(missing, *tensor.shape[1:])])


def _on_side_stream(work: Callable[[], object]) -> None:
    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call] # torch is half typed
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        work()
    torch.cuda.current_stream().wait_stream(stream)
