"""A graph's weights: references to the bytes of safetensors files, which torch reads, too.

A safetensors file is 8 bytes with the length of its header, a JSON header with type, shape and
place of each tensor, then the tensors' bytes, little-endian. ONNX can say of a tensor that its
bytes are in another file, from one place to another ("external data"). So one copy of the weights
serves both.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper
from safetensors.numpy import save_file

from riffusion.checkpoint.files import first_line
from riffusion.checkpoint.networks import current_name
from riffusion.errors import CheckpointError
from riffusion.exporting.graph import weight_names
from riffusion.exporting.parts import Part
from riffusion.exporting.rounding import SCALE_SUFFIX

ONNX_TYPES = {
    "F32": TensorProto.FLOAT,
    "F16": TensorProto.FLOAT16,
    "I8": TensorProto.INT8,
    "I32": TensorProto.INT32,
}
"""ONNX's types by those of safetensors, as far as weights have them."""
_LENGTH_BYTES = 8
_MIN_MOVED_BYTES = 64
"""A reference to a constant takes about as much."""
_MAX_INLINE_BYTES = 1 << 16
"""Most bytes of a tensor that no weights file has as a number of ONNX's types above, such as the
numbers of positions."""


@dataclass(frozen=True)
class StoredWeight:
    """Where a weight is stored.

    Args:
        file: path relative to the checkpoint's folder, with `/`.
        offset, length: place in the file, in bytes.
        dtype: type in safetensors' terms, such as `F16`.
        shape: its shape.
    """

    file: str
    offset: int
    length: int
    dtype: str
    shape: tuple[int, ...]


def stored_weights(folder: Path, files: Iterable[str], part: str) -> dict[str, StoredWeight]:
    """Where the weights of one network are, by their names in today's releases.

    Args:
        folder: the checkpoint's folder.
        files: its safetensors files, relative to the folder.
        part: `text_encoder`, `unet` or `vae`.

    Raises:
        CheckpointError: a file can't be read.
    """
    found: dict[str, StoredWeight] = {}
    for file in files:
        header, start = _header(folder / file)
        for name, entry in header.items():
            if name != "__metadata__":
                begin, end = entry["data_offsets"]
                found[current_name(part, name)] = StoredWeight(
                    file, start + begin, end - begin, entry["dtype"], tuple(entry["shape"])
                )
    return found


def attach_weights(model: ModelProto, part: Part, stored: Mapping[str, StoredWeight]) -> list[str]:
    """Replace the weights among a traced graph's inputs by references to stored ones.

    Behind weights stored in half precision is a cast, and behind integers also a product with their
    scale: runtimes compute in single precision, and convert them once, while loading.

    Returns:
        The files that the graph refers to, sorted.
    """
    graph = model.graph
    names = weight_names(model, part)
    network = part.module.get_submodule("network")
    others = dict(network.named_buffers())
    converted: dict[str, str] = {}
    nodes: list[NodeProto] = []
    files = set()
    for name in names:
        weight = stored.get(name)
        if weight is None or weight.dtype not in ONNX_TYPES:
            graph.initializer.append(_inline(name, others))
            continue
        files.add(weight.file)
        graph.initializer.append(_external(name, weight))
        if weight.dtype != "F32":
            converted[name] = f"w{len(converted)}"
            nodes.append(helper.make_node("Cast", [name], [converted[name]], to=TensorProto.FLOAT))
        if weight.dtype == "I8":
            scale, factor = name + SCALE_SUFFIX, converted[name]
            graph.initializer.append(_external(scale, stored[scale]))
            converted[name] = f"{factor}s"
            nodes.append(helper.make_node("Mul", [factor, scale], [converted[name]]))
    for node in graph.node:
        node.input[:] = [converted.get(name, name) for name in node.input]
    nodes += graph.node
    inputs = [value for value in graph.input if value.name in part.inputs]
    del graph.node[:], graph.input[:]
    graph.node.extend(nodes)
    graph.input.extend(inputs)
    return sorted(files)


def move_weights(model: ModelProto, folder: Path, file: str) -> None:
    """Move a graph's constants into a safetensors file of its own, and refer to them there.

    Matrices in single precision become half precision, with a cast behind them, unless they have
    values that are too large for it. Small constants stay.

    Args:
        model: has its weights inside; changed.
        folder: the folder that the graph belongs to.
        file: the file, relative to the folder.
    """
    graph = model.graph
    values = {
        tensor.name: numpy_helper.to_array(tensor)
        for tensor in graph.initializer
        if tensor.data_type in ONNX_TYPES.values() and _num_bytes(tensor) > _MIN_MOVED_BYTES
    }
    halves = {
        name: half
        for name, value in values.items()
        if value.dtype == np.float32 and value.ndim > 1 and np.isfinite(half := _half(value)).all()
    }
    save_file(values | halves, folder / file)
    kept = [tensor for tensor in graph.initializer if tensor.name not in values]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    for name, weight in stored_weights(folder, [file], "").items():
        graph.initializer.append(_external(name, weight))
    casts = [
        helper.make_node("Cast", [name], [f"{name}.float"], to=TensorProto.FLOAT) for name in halves
    ]
    nodes = list(graph.node)
    for node in nodes:
        node.input[:] = [f"{name}.float" if name in halves else name for name in node.input]
    del graph.node[:]
    graph.node.extend([*casts, *nodes])


def _half(value: npt.NDArray[np.float32]) -> npt.NDArray[np.float16]:
    with np.errstate(over="ignore"):
        return value.astype(np.float16)


def _num_bytes(tensor: TensorProto) -> int:
    itemsize = int(helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize)
    return itemsize * math.prod(int(size) for size in tensor.dims)


def _external(name: str, weight: StoredWeight) -> TensorProto:
    tensor = TensorProto(
        name=name,
        dims=weight.shape,
        data_type=ONNX_TYPES[weight.dtype],
        data_location=TensorProto.EXTERNAL,
    )
    place = {"location": weight.file, "offset": weight.offset, "length": weight.length}
    for key, value in place.items():
        tensor.external_data.add(key=key, value=str(value))
    return tensor


def _inline(name: str, others: Mapping[str, torch.Tensor]) -> TensorProto:
    values = others.get(name)
    if values is None or values.nbytes > _MAX_INLINE_BYTES:
        raise CheckpointError(
            f"{name} is in none of the checkpoint's weights files, so it can't be exported"
        )
    return numpy_helper.from_array(values.cpu().numpy(), name)


def _header(path: Path) -> tuple[dict[str, dict[str, Any]], int]:
    """A safetensors file's header, and where its tensors' bytes begin."""
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
            return json.loads(file.read(length)), _LENGTH_BYTES + length
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{path} can't be read as safetensors ({first_line(error)}); download it again"
        ) from error
