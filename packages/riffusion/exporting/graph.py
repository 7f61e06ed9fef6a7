"""A part's network as an ONNX graph without weights, traced by torch.

Weights are inputs of the traced graph, named as in the network. `riffusion.exporting.weights` turns
them into references to the checkpoint's own files.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

import onnx
import torch
from onnx import GraphProto, ModelProto, NodeProto, TensorProto

from riffusion.checkpoint.files import first_line
from riffusion.errors import CheckpointError
from riffusion.exporting import attention
from riffusion.exporting.parts import Part, Sizes

OPSET = 17
"""Version of ONNX's operators; the first with LayerNormalization, which runtimes have had since
2022."""
_NETWORK = "network."


def trace(part: Part, sizes: Sizes) -> ModelProto:
    """The graph of a part; its inputs are the part's, then the weights that it uses.

    Args:
        part: on the CPU, in single precision.
        sizes: sizes to run it with once. The graph works for others, too.

    Raises:
        CheckpointError: the part has a layer that ONNX can't hold.
    """
    inputs = part.random_inputs(sizes, torch.Generator().manual_seed(0))
    content = io.BytesIO()
    try:
        with torch.inference_mode(), _exporter():
            torch.onnx.export(
                part.module,
                tuple(inputs.values()),
                content,  # type: ignore[arg-type] # the tracing exporter writes to files, too
                dynamo=False,
                export_params=False,  # so they become inputs, and no limit of 2 GB matters
                do_constant_folding=False,
                opset_version=OPSET,
                input_names=list(part.inputs),
                output_names=list(part.outputs),
                dynamic_axes={**part.inputs, **part.outputs},
            )
    except Exception as error:  # layers can raise anything while they are traced
        raise cannot_hold(part, error) from error
    model = onnx.load_from_string(content.getvalue())
    _shorten(model.graph, part)
    del model.metadata_props[:]
    model.producer_name, model.producer_version = "riffusion", ""
    return model


@contextmanager
def _exporter() -> Iterator[None]:
    """The exporter without its warnings and prints, and with operators in forms that it can hold.

    It lacks `cdist`, and attention would take much memory.
    """
    with (
        warnings.catch_warnings(),
        mock.patch.object(torch._C, "_jit_onnx_log", _ignore, create=True),  # prints the graph
        mock.patch.object(torch, "cdist", _distances),
        attention.in_blocks(),
    ):
        warnings.simplefilter("ignore")  # that shapes are checked once, while tracing
        yield


def _ignore(*_: object) -> None:
    """Print nothing."""


def _distances(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """`torch.cdist`, which the exporter can't hold for any number of rows.

    Args:
        a: (rows, width).
        b: (codes, width); a codebook, in which a `VQModel` looks up the nearest code.

    Returns:
        (rows, codes), by |a - b|² = |a|² - 2 a·b + |b|², as torch computes it for many rows.
    """
    squared = a.square().sum(1, keepdim=True) - 2 * a @ b.T + b.square().sum(1)
    return squared.clamp(min=0).sqrt()


def cannot_hold(part: Part, error: Exception) -> CheckpointError:
    """The error for a part that can't be exported."""
    kind = type(part.module.get_submodule("network")).__name__
    return CheckpointError(
        f"{part.name}: its {kind} has a layer that ONNX or onnxruntime can't hold "
        f"({first_line(error)}); use the checkpoint with torch, without exporting it"
    )


def weight_names(model: ModelProto, part: Part) -> list[str]:
    """Names of the weights that a traced graph has as inputs, as in the network."""
    names = (value.name for value in model.graph.input)
    return [name for name in names if name not in part.inputs]


def _shorten(graph: GraphProto, part: Part) -> None:
    """Give everything but inputs, outputs and weights a short name, and constants only once.

    The exporter repeats small constants (shapes, axes) hundreds of times, names each value by the
    path of its module, and adds the Python line that it comes from.
    """
    names = {"": "", **{name: name for name in (*part.inputs, *part.outputs)}}
    for value in graph.input:
        names.setdefault(value.name, value.name.removeprefix(_NETWORK))
        value.name = names[value.name]
    constants: dict[bytes, str] = {}
    kept = []
    for node in graph.node:
        if node.op_type == "Constant":
            tensor = node.attribute[0].t
            tensor.ClearField("name")
            content = tensor.SerializeToString(deterministic=True)
            if content not in constants:
                constants[content] = f"k{len(constants)}"
                graph.initializer.append(_named(tensor, constants[content]))
            names[node.output[0]] = constants[content]
            continue
        node.ClearField("name")
        node.ClearField("doc_string")
        del node.metadata_props[:]
        for output in node.output:
            names.setdefault(output, f"v{len(names)}")
        node.input[:] = [names[name] for name in node.input]
        node.output[:] = [names[name] for name in node.output]
        if node.op_type == "Transpose":
            _count_from_the_first(node)
        kept.append(node)
    del graph.node[:], graph.value_info[:]
    graph.node.extend(kept)
    graph.name = part.name


def _count_from_the_first(transpose: NodeProto) -> None:
    """Replace negative axes, which torch's `movedim` leaves there and ONNX forbids."""
    axes = transpose.attribute[0].ints
    axes[:] = [axis % len(axes) for axis in axes]


def _named(tensor: TensorProto, name: str) -> TensorProto:
    named = TensorProto()
    named.CopyFrom(tensor)
    named.name = name
    return named
