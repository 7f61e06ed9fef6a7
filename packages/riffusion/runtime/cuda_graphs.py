"""UNet calls through CUDA graphs, which remove the time between kernels.

A UNet of this size runs about a thousand kernels, and each takes less time than Python needs to
launch the next. A CUDA graph records them once and replays them with one launch. Graphs have fixed
shapes: rows are padded to the next of a few batch sizes, and the padding's outputs are dropped.
Graphs are recorded before the first request. A call of another shape, such as that of a longer
clip, runs without a graph, so no request waits for a recording. The same is true of a size whose
recording failed, of a UNet that has changed since its graphs were recorded, and of a call with
other weights, such as those of a LoRA: a graph reads the weights that it was recorded with.
"""

import logging
import weakref
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch.func import functional_call

from riffusion.runtime.memory import release_memory_of

logger = logging.getLogger(__name__)

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


class _Network:
    """A UNet as it was when its graphs were recorded.

    A graph reads the weights at the addresses that it recorded, and repeats the recorded kernels.
    It knows neither weights that moved or were replaced, nor modules that were added, such as the
    layers of a LoRA. The snapshot holds the dictionaries that modules keep both in.
    """

    def __init__(self, unet: Any) -> None:
        self._unet = weakref.ref(unet)
        modules = list(unet.modules()) if isinstance(unet, torch.nn.Module) else []
        self._children = [(module._modules, dict(module._modules)) for module in modules]
        self._tensors = [
            (tensors, {name: (tensor, _address(tensor)) for name, tensor in tensors.items()})
            for module in modules
            for tensors in (module._parameters, module._buffers)
            if tensors
        ]

    @property
    def is_alive(self) -> bool:
        """Whether the network still exists."""
        return self._unet() is not None

    def is_of(self, unet: Any) -> bool:
        """Whether the snapshot was taken of this object."""
        return self._unet() is unet

    def is_still(self, unet: Any) -> bool:
        """Whether the network has the same modules and weights."""
        return (
            not _has_adapters(unet)
            and all(now == before for now, before in self._children)
            and all(
                now.keys() == before.keys()
                and all(
                    now[name] is tensor and _address(tensor) == address
                    for name, (tensor, address) in before.items()
                )
                for now, before in self._tensors
            )
        )


class CudaGraphRunner:
    """Calls a UNet, through a CUDA graph if one is recorded. Not thread-safe.

    Attributes:
        num_failed: sizes whose recording failed; they run without a graph.
        num_replays, num_direct_calls: calls with and without a graph.
    """

    def __init__(self) -> None:
        self.num_failed = 0
        self.num_replays = 0
        self.num_direct_calls = 0
        self._recorded: dict[Hashable, _Recorded] = {}
        self._network: _Network | None = None
        self._memory: Any = None
        self._stream: Any = None

    @property
    def num_recorded(self) -> int:
        """Number of recorded graphs."""
        return len(self._recorded)

    def __call__(
        self,
        unet: Any,
        rows: torch.Tensor,
        timesteps: torch.Tensor,
        embeddings: torch.Tensor,
        mask: torch.Tensor | None = None,
        timestep_cond: torch.Tensor | None = None,
        weights: Mapping[str, torch.Tensor] | None = None,
    ) -> torch.Tensor:
        """Call the UNet.

        Args:
            unet: a `UNet2DConditionModel`.
            rows: (rows, channels, height, width).
            timesteps: (rows,), floating-point: some samplers' timesteps aren't whole numbers.
            embeddings: (rows, tokens, width).
            mask: (rows, tokens), 1 where a token counts; None if all do.
            timestep_cond: (rows, width), what distilled rows are told about guidance; None for a
                UNet that takes none.
            weights: weights that stand in for the UNet's own of the same names, for this call.

        Returns:
            The UNet's output, same shape as `rows`.
        """
        size = padded_size(len(rows))
        if mask is None and not weights and size is not None and self._has_graphs_of(unet):
            inputs = tuple(
                _padded(tensor, size)
                for tensor in _graph_inputs(rows, timesteps, embeddings, timestep_cond)
            )
            recorded = self._recorded.get(_key(inputs))
            if recorded is not None:
                for static, tensor in zip(recorded.inputs, inputs, strict=True):
                    static.copy_(tensor)
                recorded.graph.replay()
                self.num_replays += 1
                return recorded.output[: len(rows)].clone()
        self.num_direct_calls += 1
        return _call(unet, rows, timesteps, embeddings, timestep_cond, mask, weights=weights)

    def record(
        self,
        unet: Any,
        rows: torch.Tensor,
        timesteps: torch.Tensor,
        embeddings: torch.Tensor,
        timestep_cond: torch.Tensor | None = None,
    ) -> bool:
        """Record a graph for calls of these shapes. CUDA only.

        Args:
            unet, rows, timesteps, embeddings, timestep_cond: see `__call__`. Values don't matter;
                the number of rows is one of `BATCH_SIZES`.

        Returns:
            Whether there is a graph now. A failure is logged, and calls run without a graph.
        """
        if _has_adapters(unet):
            return False
        if not self._has_graphs_of(unet):
            self.forget()
            self._network = _Network(unet)
        stream = torch.cuda.current_stream()
        try:
            self._record(unet, _graph_inputs(rows, timesteps, embeddings, timestep_cond))
        except Exception as error:
            failure = error
        else:
            return True
        self.num_failed += 1
        logger.warning(
            "no CUDA graph for %d rows, so these calls take longer: %s", len(rows), failure
        )
        release_memory_of(failure)
        torch.cuda.set_stream(stream)  # a failed recording can leave its own stream behind
        return False

    def forget(self) -> None:
        """Drop all graphs. Call it before weights move: graphs read their recorded addresses."""
        self._recorded.clear()
        self._network = None
        self._memory = None

    def _record(self, unet: Any, inputs: Inputs) -> None:
        static = tuple(tensor.clone() for tensor in inputs)
        self._memory = self._memory or torch.cuda.graph_pool_handle()
        self._on_side_stream(lambda: [_call(unet, *static) for _ in range(_WARM_UP_CALLS)])
        graph = torch.cuda.CUDAGraph()
        # thread_local: other threads, which compute audio on this device, may continue meanwhile.
        with torch.cuda.graph(graph, pool=self._memory, capture_error_mode="thread_local"):
            output = _call(unet, *static)
        self._recorded[_key(static)] = _Recorded(graph, static, output)

    def _has_graphs_of(self, unet: Any) -> bool:
        """Whether graphs are recorded, and `unet` is still what they were recorded of."""
        if self._network is None:
            return False
        if self._network.is_of(unet) and self._network.is_still(unet):
            return True
        if not self._network.is_of(unet) and self._network.is_alive:
            return False
        if self._recorded:
            logger.warning("the UNet has changed; its CUDA graphs are dropped")
        self.forget()
        return False

    def _on_side_stream(self, work: Callable[[], object]) -> None:
        self._stream = self._stream or torch.cuda.Stream()  # type: ignore[no-untyped-call] # torch is half typed
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            work()
        torch.cuda.current_stream().wait_stream(self._stream)


def _graph_inputs(
    rows: torch.Tensor,
    timesteps: torch.Tensor,
    embeddings: torch.Tensor,
    timestep_cond: torch.Tensor | None,
) -> Inputs:
    """The tensors that a graph reads; `timestep_cond` is one of them if the UNet takes it."""
    inputs = (rows, timesteps, embeddings)
    return inputs if timestep_cond is None else (*inputs, timestep_cond)


def _call(
    unet: Any,
    rows: torch.Tensor,
    timesteps: torch.Tensor,
    embeddings: torch.Tensor,
    timestep_cond: torch.Tensor | None = None,
    mask: torch.Tensor | None = None,
    *,
    weights: Mapping[str, torch.Tensor] | None = None,
) -> torch.Tensor:
    options: dict[str, Any] = {
        "encoder_hidden_states": embeddings,
        "encoder_attention_mask": mask,
        "return_dict": False,
    }
    if timestep_cond is not None:  # a UNet that takes no guidance may be a user's own
        options["timestep_cond"] = timestep_cond
    if weights:
        inputs = (rows, timesteps)
        output = functional_call(unet, dict(weights), inputs, options, tie_weights=False)
    else:
        output = unet(rows, timesteps, **options)
    found: torch.Tensor = output[0]
    return found


def _has_adapters(unet: Any) -> bool:
    """Whether a LoRA is loaded; its weights and switches are Python's, which a graph can't see."""
    return bool(getattr(unet, "_hf_peft_config_loaded", False))


def _address(tensor: torch.Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()


def _key(inputs: Inputs) -> Hashable:
    """Calls of equal keys can use the same graph."""
    return tuple((tensor.shape, tensor.dtype, tensor.device) for tensor in inputs)


def padded_size(num_rows: int) -> int | None:
    """The smallest of `BATCH_SIZES` that is at least `num_rows`, or None."""
    return next((size for size in BATCH_SIZES if size >= num_rows), None)


def _padded(tensor: torch.Tensor, size: int) -> torch.Tensor:
    """Repeat the last row until there are `size` rows."""
    missing = size - len(tensor)
    if missing == 0:
        return tensor
    return torch.cat([tensor, tensor[-1:].expand(missing, *tensor.shape[1:])])
