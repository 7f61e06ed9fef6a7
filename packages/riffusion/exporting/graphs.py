"""The graphs of a folder: traced, compared with torch, and written with the manifest."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx
import onnxruntime
import torch

import riffusion
from riffusion.checkpoint.loader import Components
from riffusion.checkpoint.manifest import (
    FORMAT,
    MANIFEST_NAME,
    ExportedPart,
    Manifest,
    describe_file,
)
from riffusion.checkpoint.source import CheckpointSource
from riffusion.exporting import checking, checkpoint_files
from riffusion.exporting.checking import Arrays, Comparison
from riffusion.exporting.checkpoint_files import Weights
from riffusion.exporting.graph import OPSET, trace
from riffusion.exporting.parts import Part, Shape
from riffusion.exporting.weights import attach_weights
from riffusion.io.bundle import DISTRIBUTION


@dataclass(frozen=True)
class ExportedGraph:
    """The graph of a part, checked against torch.

    Args:
        name: name of the part.
        content: the serialized graph.
        weights: the files that it refers to, relative to its folder.
        precision: type of its weights.
        comparison: with torch, with the same weights; before it was quantised.
        rounding: largest difference to torch with the checkpoint's own weights; None if they are
            the same.
        image_psnr_db, left_out: see `ExportedPart`.
    """

    name: str
    content: bytes
    weights: tuple[str, ...]
    precision: str
    comparison: Comparison
    rounding: float | None
    image_psnr_db: float | None = None
    left_out: str | None = None

    @property
    def file(self) -> str:
        """Name of the graph's file."""
        return f"{self.name}.onnx"


OnGraph = Callable[[ExportedGraph], None]


def checked_graphs(
    parts: Sequence[Part],
    shape: Shape,
    folder: Path,
    weights: Weights,
    references: Mapping[str, list[Arrays]] | None,
    on_graph: OnGraph,
) -> list[ExportedGraph]:
    """Trace all parts, and compare them with torch.

    Args:
        parts: their networks have the stored weights.
        shape: the checkpoint's.
        folder: has the weights.
        weights: where they are.
        references: outputs by part with the checkpoint's own weights; None if they are the same.
        on_graph: called with each graph.

    Raises:
        CheckpointError: a part can't be exported, or differs too much.
    """
    graphs = []
    for part in parts:
        model = trace(part, shape.smallest())
        files = attach_weights(model, part, weights.stored[part.folder])
        content = model.SerializeToString(deterministic=True)
        sizes = shape.compared()
        found = checking.onnx_outputs(content, folder, part, sizes)
        comparison = checking.compare(found, checking.torch_outputs(part, sizes))
        checking.check(comparison, part)
        rounding = None
        if references is not None:
            rounding = checking.compare(found, references[part.name]).difference
        graphs.append(
            ExportedGraph(part.name, content, tuple(files), weights.precision, comparison, rounding)
        )
        on_graph(graphs[-1])
    return graphs


def references_of(parts: Sequence[Part], shape: Shape) -> dict[str, list[Arrays]]:
    """Outputs of each part in torch, on random inputs of several sizes."""
    sizes = shape.compared()
    return {part.name: checking.torch_outputs(part, sizes) for part in parts}


def write_graphs(
    graphs: Sequence[ExportedGraph],
    new: Path,
    folder: Path,
    components: Components,
    shape: Shape,
    precision: str,
    psnr_db: float | None = None,
) -> Manifest:
    """Write graphs, then the manifest.

    Args:
        new: where to write them.
        folder: has all other files.
        components: what was exported.
        shape: the checkpoint's.
        precision: what was asked for.
        psnr_db: least PSNR of images of the same seed, where that was measured.

    Raises:
        OSError: a file can't be written.
    """
    for graph in graphs:
        (new / graph.file).write_bytes(graph.content)
    places = {graph.file: new for graph in graphs}
    others = checkpoint_files.others_in(folder)
    names = {*places, *others, *(name for graph in graphs for name in graph.weights)}
    manifest = Manifest(
        format=FORMAT,
        source=_name(components.source),
        precision=precision,
        opset=OPSET,
        versions={
            DISTRIBUTION: riffusion.__version__,
            "torch": torch.__version__,
            "onnx": onnx.__version__,
            "onnxruntime": onnxruntime.__version__,
        },
        shape=shape.fixed,
        parts={
            graph.name: ExportedPart(
                graph=graph.file,
                weights=graph.weights,
                precision=graph.precision,
                difference=graph.comparison.difference,
                tolerance=graph.comparison.tolerance,
                rounding=graph.rounding,
                image_psnr_db=graph.image_psnr_db,
                left_out=graph.left_out,
            )
            for graph in graphs
        },
        files={name: describe_file(places.get(name, folder) / name) for name in sorted(names)},
        other_files=others,
        image_psnr_db=psnr_db,
    )
    (new / MANIFEST_NAME).write_bytes(manifest.to_json())
    return manifest


def _name(source: CheckpointSource) -> str:
    """What was exported, without folders of this machine."""
    name = source.location if source.kind == "hub" else Path(source.location).resolve().name
    return f"{name}@{source.revision}" if source.revision else name
