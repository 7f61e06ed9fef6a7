"""A graph that computes with integers, by onnxruntime's quantiser.

In front of and behind each quantised operator are conversions to integers and back (QDQ), from
which runtimes make integer kernels. The ranges of activations are fixed: they are the smallest and
largest values that calibration saw. So a row of a batch is rounded as it is alone; ranges that are
taken from each batch would mix its rows.

Convolutions and products with constant weights are quantised, which is where the time goes; norms,
attention's own products and the embedding of the timestep stay in single precision. `SCHEMES` has
what else depends on the processor.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import ModelProto, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantType
from onnxruntime.quantization.calibrate import TensorsData, create_calibrator
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer
from onnxruntime.quantization.quant_utils import load_model_with_shape_infer

from riffusion.errors import CheckpointError
from riffusion.exporting.graph import weight_names
from riffusion.exporting.parts import Part

Inputs = Mapping[str, npt.NDArray[Any]]

QUANTISED = ("Conv", "MatMul")
"""Operators that are quantised."""


@dataclass(frozen=True)
class Scheme:
    """Integers that a kind of processor computes with.

    Args:
        activations: type of the activations.
        has_seven_bits: whether weights have 7 bits in place of 8.
        has_matrix_channels: whether matrices have a scale per output channel, as convolutions do.
        has_float_products: whether products of matrices are floats: their sums in 32 bits are
            multiplied by the scale and not rounded again.
    """

    activations: QuantType
    has_seven_bits: bool
    has_matrix_channels: bool
    has_float_products: bool


SCHEMES = {
    "int8": Scheme(QuantType.QUInt8, True, True, True),
    "w8a16": Scheme(QuantType.QUInt16, False, False, False),
}
"""By precision. `int8` is for CPUs: products of two 8-bit numbers, added in pairs, would exceed 16
bits, to which processors without VNNI and WebAssembly limit them, hence 7 bits. `w8a16` is for
Qualcomm's NPUs, in the form that onnxruntime's QNN execution provider asks for: no scales per
channel in products of matrices, and integers behind each operator. 16 bits exist as an extension of
the standard's operators in opset 17 (`com.microsoft`), which this provider takes."""
MAX_BYTES = 1_900_000_000
"""Largest graph with its weights inside; the format of graphs ends at 2 GB."""


def float_graph(model: ModelProto, part: Part, path: Path) -> None:
    """Write a traced graph with its weights inside, in single precision, for the quantiser.

    Transposed weights, which linear layers have, are constants in it, and nodes have names.

    Raises:
        CheckpointError: the weights are too large for one file.
    """
    network = part.module.get_submodule("network")
    weights = dict(network.named_parameters()) | dict(network.named_buffers())
    used = weight_names(model, part)
    size = sum(weights[name].nbytes for name in used)
    if size > MAX_BYTES:
        raise CheckpointError(
            f"{part.name} has {size / 1e9:.1f} GB of weights, and int8 and w8a16 can be made of up "
            f"to {MAX_BYTES / 1e9:g} GB; use --precision w8"
        )
    values = {name: weights[name].detach().cpu().numpy() for name in used}
    graph = ModelProto()
    graph.CopyFrom(model)
    nodes = []
    for number, node in enumerate(graph.graph.node):
        if node.op_type == "Transpose" and node.input[0] in values:
            axes = tuple(node.attribute[0].ints)
            values[node.output[0]] = np.ascontiguousarray(values[node.input[0]].transpose(axes))
            continue
        node.name = f"n{number}"
        nodes.append(node)
    needed = {name for node in nodes for name in node.input}
    kept = [value for value in graph.graph.input if value.name in part.inputs]
    del graph.graph.node[:], graph.graph.input[:]
    graph.graph.node.extend(nodes)
    graph.graph.input.extend(kept)
    graph.graph.initializer.extend(
        numpy_helper.from_array(value, name) for name, value in values.items() if name in needed
    )
    onnx.save(graph, path)


def ranges_of(graph: Path, inputs: Sequence[Inputs], scratch: Path) -> TensorsData:
    """The range of each activation that may be quantised, over all inputs.

    Args:
        graph: of `float_graph`.
        inputs: real inputs of the part.
        scratch: path for a temporary file.
    """
    with _quiet():
        calibrator = create_calibrator(graph, QUANTISED, augmented_model_path=str(scratch))
        calibrator.collect_data(_Reader(inputs))
        found = calibrator.compute_data()
    assert isinstance(found, TensorsData)
    return found


def quantised_graph(
    graph: Path, ranges: TensorsData, left_out: Sequence[str], scheme: Scheme
) -> ModelProto:
    """The graph with integers, weights inside.

    Args:
        graph: of `float_graph`.
        ranges: of `ranges_of`.
        left_out: names of nodes that stay as they are.
        scheme: one of `SCHEMES`.
    """
    model = load_model_with_shape_infer(graph)
    options: dict[str, Any] = {"MatMulConstBOnly": True}
    if scheme.has_float_products:
        options["OpTypesToExcludeOutputQuantization"] = ["MatMul"]
    if not scheme.has_matrix_channels:
        whole = {"quant_type": QuantType.QInt8, "symmetric": True}
        constants = {tensor.name for tensor in model.graph.initializer}
        factors = {node.input[1] for node in model.graph.node if node.op_type == "MatMul"}
        options["TensorQuantOverrides"] = {name: [whole] for name in factors & constants}
    with _quiet():
        quantiser = QDQQuantizer(
            model,
            per_channel=True,
            reduce_range=scheme.has_seven_bits,
            weight_qType=QuantType.QInt8,
            activation_qType=scheme.activations,
            tensors_range=ranges,
            nodes_to_quantize=[],
            nodes_to_exclude=list(left_out),
            op_types_to_quantize=list(QUANTISED),
            extra_options=options,
        )
        quantiser.quantize_model()
    found: ModelProto = quantiser.model.model
    return found


class _Reader(CalibrationDataReader):  # type: ignore[misc] # onnxruntime has no types
    def __init__(self, inputs: Sequence[Inputs]) -> None:
        self._inputs: Iterator[Inputs] = iter(inputs)

    def get_next(self) -> dict[str, npt.NDArray[Any]] | None:
        found = next(self._inputs, None)
        return None if found is None else dict(found)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the quantiser's advice, which it logs as warnings of the root logger."""
    root = logging.getLogger()
    root.addFilter(_from_riffusion)
    try:
        yield
    finally:
        root.removeFilter(_from_riffusion)


def _from_riffusion(record: logging.LogRecord) -> bool:
    return record.name.startswith("riffusion")
