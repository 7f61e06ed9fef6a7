"""An emulated CUDA device: tensors that say `cuda:0` and compute on the CPU.

It finds what a machine without a GPU otherwise can't: operations that mix devices, copies for which
the CPU waits, and what must not happen while a graph is recorded. It knows nothing of kernels,
drivers and timing.

    tensor on "cuda:0" ─▶ EmulatedTensor, which holds a CPU tensor ─▶ the operation on the CPU
    graph              ─▶ the recorded operations, repeated on the same memory (`emulated_graphs`)
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from tests.runtime.emulated_graphs import Device, EmulationError, device, stand_ins

__all__ = ["Device", "EmulatedTensor", "EmulationError", "install"]

aten = torch.ops.aten
CUDA = torch.device("cuda:0")
_MEMORY_BYTES = 80 * 2**30

_WAITS = {
    aten._local_scalar_dense.default: "a number is read",
    aten.equal.default: "tensors are compared",
    aten.nonzero.default: "nonzero elements are counted",
    aten.masked_select.default: "elements are selected by a mask",
    aten.repeat_interleave.Tensor: "repetitions are summed",
    aten._linalg_solve_ex.default: "a linear system is solved",
}
"""Operations on CUDA whose result, or its size, the CPU waits for."""
_NUMBERS = {aten._local_scalar_dense.default, aten.equal.default}
"""Operations that return a number, not a tensor."""
_INDEXING = {aten.index.Tensor, aten.index_put.default, aten.index_put_.default}
_NEEDS_ONE_DEVICE = {aten.cat.default, aten.stack.default, aten.mm.default, aten.bmm.default}
"""Operations that refuse a CPU tensor even if it is a scalar."""


class EmulatedTensor(torch.Tensor):
    """A tensor on `cuda:0`, whose values are those of a CPU tensor, `values`."""

    values: torch.Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @staticmethod
    def __new__(cls, values: torch.Tensor) -> EmulatedTensor:
        tensor: EmulatedTensor = torch.Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls,
            values.size(),
            strides=values.stride(),
            storage_offset=values.storage_offset(),
            dtype=values.dtype,
            device=CUDA,
        )
        tensor.values = values
        return tensor

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})

    def data_ptr(self) -> int:
        return self.values.data_ptr()

    def tolist(self) -> Any:
        return self.cpu().tolist()

    def __repr__(self, **_: object) -> str:  # type: ignore[override]
        return f"EmulatedTensor({tuple(self.shape)}, {self.dtype})"


class _Dispatch(TorchDispatchMode):
    """Sees operations that have no tensor of the device yet, such as `torch.zeros(…, device=…)`."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


def _run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """One operation, on either device."""
    if func is aten.is_pinned.default:
        return _is_pinned(args[0])
    if func is aten._pin_memory.default:
        return _pinned(args[0])
    leaves = tree_leaves((args, kwargs))
    tensors = [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]
    ours = [tensor for tensor in tensors if isinstance(tensor, EmulatedTensor)]
    named = [leaf for leaf in leaves if isinstance(leaf, torch.device)]
    to_cuda = any(each.type == "cuda" for each in named)
    if not ours and not to_cuda:
        return func(*args, **kwargs)
    if torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), "CompositeImplicitAutograd"):
        with _Dispatch():
            decomposed = func.decompose(*args, **kwargs)
        if decomposed is not NotImplemented:
            return decomposed
    if func is aten._fused_sdp_choice.default:
        return 0  # attention of elementary operations
    to_cpu = bool(named) and not to_cuda
    _check_devices(func, args, kwargs, tensors, to_cuda, to_cpu)
    device.num_operations += 1
    args, kwargs = tree_map(_values, (args, kwargs))
    if to_cuda:
        kwargs["device"] = torch.device("cpu")
    if kwargs.get("pin_memory"):
        kwargs["pin_memory"] = False
    result = func(*args, **kwargs)
    if device.recording is not None:
        device.recording.operations.append((func, args, kwargs, result))
    written = _written_argument(func, leaves_by_name(func, args, kwargs), tensors)
    if written is not None:
        return written
    if func in _NUMBERS or (to_cpu and bool(ours)):
        return result
    return tree_map(_wrapped, result)


def leaves_by_name(func: Any, args: Any, kwargs: dict[str, Any]) -> dict[str, Any]:
    """The arguments of an operation by their names in its schema."""
    names = [argument.name for argument in func._schema.arguments]
    return dict(zip(names, args, strict=False)) | kwargs


def _written_argument(
    func: Any, by_name: dict[str, Any], tensors: list[torch.Tensor]
) -> torch.Tensor | None:
    """The tensor that an operation in place writes to and returns, or None."""
    for argument in func._schema.arguments:
        if argument.alias_info is not None and argument.alias_info.is_write:
            target = by_name.get(argument.name)
            for tensor in tensors:
                if _values(tensor) is target:
                    return tensor
    return None


def _pinned(tensor: torch.Tensor) -> torch.Tensor:
    """A copy of a CPU tensor that counts as pinned: a GPU can read it while the CPU goes on."""
    pinned = tensor.clone()
    pinned.is_emulated_pinned = True  # type: ignore[attr-defined]
    return pinned


def _is_pinned(tensor: torch.Tensor) -> bool:
    return getattr(tensor, "is_emulated_pinned", False)


def _check_devices(
    func: Any,
    args: Any,
    kwargs: dict[str, Any],
    tensors: list[torch.Tensor],
    to_cuda: bool,
    to_cpu: bool,
) -> None:
    """Note what the CPU waits for, and refuse what CUDA refuses."""
    foreign = [tensor for tensor in tensors if not isinstance(tensor, EmulatedTensor)]
    if func is aten._to_copy.default:
        if to_cpu:
            device.wait("a tensor is copied to the CPU")
        elif foreign and to_cuda and not (kwargs.get("non_blocking") and _is_pinned(args[0])):
            device.wait("a tensor is copied to the GPU")
    elif func is aten.copy_.default:
        if foreign:
            device.wait("a tensor is copied between devices")
    elif func in _WAITS:
        device.wait(_WAITS[func])
    elif func in _INDEXING:
        if any(index is not None and index.dtype in (torch.bool, torch.uint8) for index in args[1]):
            device.wait("a mask is an index")
        if any(index in foreign for index in args[1] if index is not None):
            device.wait("an index is copied to the GPU")
    else:
        mixed = [t for t in foreign if t.dim() > 0 or func in _NEEDS_ONE_DEVICE]
        if mixed:
            shape = tuple(mixed[0].shape)
            raise EmulationError(f"{func} of a tensor on cuda:0 and one on the CPU, {shape}")
        if foreign and device.recording is not None:
            raise EmulationError(f"{func} reads a scalar of the CPU while a graph is recorded")


def _values(leaf: Any) -> Any:
    return leaf.values if isinstance(leaf, EmulatedTensor) else leaf


def _wrapped(leaf: Any) -> Any:
    is_plain = isinstance(leaf, torch.Tensor) and not isinstance(leaf, EmulatedTensor)
    return EmulatedTensor(leaf) if is_plain else leaf


def _emulated(run: Any) -> Any:
    """`Thread.run` with the device: dispatch modes are a thread's own."""

    def run_emulated(thread: threading.Thread) -> None:
        with _Dispatch():
            run(thread)

    return run_emulated


class _Generator(torch.Generator):
    """A generator on any device, which draws the CPU's numbers."""

    def __new__(cls, device: Any = "cpu") -> _Generator:
        generator: _Generator = super().__new__(cls, "cpu")
        return generator


def _enter_without_gradients(self: Any) -> None:
    self.had_gradients = torch.is_grad_enabled()
    torch.set_grad_enabled(False)


def _exit_without_gradients(self: Any, *_: object) -> None:
    torch.set_grad_enabled(self.had_gradients)


@contextlib.contextmanager
def install(monkeypatch: pytest.MonkeyPatch) -> Iterator[Device]:
    """Emulate CUDA within the block, in the calling thread and in threads that it starts.

    `inference_mode` becomes `no_grad`, since views of its tensors can't be wrapped.
    """
    device.__init__()  # type: ignore[misc] # all fields as new
    torch._C._ensureCUDADeviceGuardSet()  # type: ignore[attr-defined] # for good: no way back
    # A parameter stays the same object when its module moves, as an optimizer expects.
    before = torch.__future__.get_swap_module_params_on_conversion()
    torch.__future__.set_swap_module_params_on_conversion(True)
    monkeypatch.setattr(torch.inference_mode, "__enter__", _enter_without_gradients)
    monkeypatch.setattr(torch.inference_mode, "__exit__", _exit_without_gradients)
    monkeypatch.setattr(torch, "Generator", _Generator)
    monkeypatch.setattr(threading.Thread, "run", _emulated(threading.Thread.run))
    own = {
        "_lazy_init": lambda: None,
        "is_available": lambda: True,
        "device_count": lambda: 1,
        "current_device": lambda: 0,
        "synchronize": lambda *_: device.wait("the device is synchronized"),
        "empty_cache": lambda: None,
        "get_device_name": lambda *_: "an emulated GPU",
        "get_device_properties": lambda *_: SimpleNamespace(total_memory=_MEMORY_BYTES),
        "memory_allocated": lambda *_: 0,
        "memory_reserved": lambda *_: 0,
        "max_memory_allocated": lambda *_: 0,
        "reset_peak_memory_stats": lambda *_: None,
        "set_per_process_memory_fraction": lambda *_: None,
        "is_current_stream_capturing": lambda: device.recording is not None,
    }
    for name, stand_in in (own | stand_ins()).items():
        monkeypatch.setattr(torch.cuda, name, stand_in)
    try:
        with torch.no_grad(), _Dispatch():
            yield device
    finally:
        torch.__future__.set_swap_module_params_on_conversion(before)
