"""A checkpoint as a folder that runs without torch, or graphs beside a checkpoint.

checkpoint ─▶ load_components           networks in single precision on the CPU
           ─▶ copied, or converted      weights as safetensors, in the precision asked for
           ─▶ trace, attach_weights     one graph per part, which refers to these files
           ─▶ checking                  onnxruntime against torch, on random inputs
           ─▶ manifest.json             written last, so a folder that has one is complete
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import onnx
import onnxruntime
import torch

import riffusion
from riffusion.checkpoint.loader import Components, load_components
from riffusion.checkpoint.manifest import (
    FORMAT,
    MANIFEST_NAME,
    ExportedPart,
    Manifest,
    describe_file,
)
from riffusion.checkpoint.source import CheckpointSource, find_checkpoint
from riffusion.errors import CheckpointError, InputError
from riffusion.exporting import checking, checkpoint_files, pictures
from riffusion.exporting.checking import Arrays, Comparison
from riffusion.exporting.checkpoint_files import Weights
from riffusion.exporting.graph import OPSET, trace
from riffusion.exporting.parts import Part, Shape, parts_of
from riffusion.exporting.rounding import INTEGERS, PRECISIONS
from riffusion.exporting.weights import attach_weights
from riffusion.io.bundle import DISTRIBUTION
from riffusion.io.files import write_file
from riffusion.io.folders import is_vacant, replaced_folder


@dataclass(frozen=True)
class ExportedGraph:
    """The graph of a part, checked against torch.

    Args:
        name: name of the part.
        content: the serialized graph.
        weights: the files that it refers to, relative to its folder.
        comparison: with torch, with the same weights.
        rounding: with torch and the checkpoint's own weights; None if they are the same.
    """

    name: str
    content: bytes
    weights: tuple[str, ...]
    comparison: Comparison
    rounding: float | None

    @property
    def file(self) -> str:
        """Name of the graph's file."""
        return f"{self.name}.onnx"


OnGraph = Callable[[ExportedGraph], None]


def export_checkpoint(
    source: str | None,
    directory: Path,
    precision: str,
    on_graph: OnGraph,
    *,
    num_pictures: int = 4,
) -> Manifest:
    """Export a checkpoint into a new folder, which torch can load as a checkpoint, too.

    Args:
        source: see `find_checkpoint`.
        directory: the folder; created, or empty.
        precision: type of the weights, one of `PRECISIONS`. Computation is in single precision.
        on_graph: called with each graph that is ready.
        num_pictures: how many pictures to draw before and after weights become integers.

    Raises:
        CheckpointError: the checkpoint can't be loaded or exported, or pictures change too much.
        InputError: the precision is unknown, or the folder can't be written or isn't empty.
    """
    if precision not in PRECISIONS:
        raise InputError(f"{precision!r} must be one of {', '.join(PRECISIONS)}", "precision")
    if directory.exists() and not is_vacant(directory):
        raise InputError(
            f"{str(directory)!r} exists and is not empty; choose a new folder, or delete this one",
            "output",
        )
    components = _load(find_checkpoint(source))
    shape = Shape.of(components)
    parts = parts_of(components, shape)
    with _folder(directory) as folder:
        found, psnr_db = checkpoint_files.stored_in(components), None
        if found is not None and found.precision == precision:
            checkpoint_files.copy(components, folder)
            references: dict[str, list[Arrays]] | None = None
        else:
            is_rounded = checkpoint_files.is_rounded_in(components, precision)
            references = _references(parts, shape) if is_rounded else None
            drawn = num_pictures if precision in INTEGERS else 0
            before = pictures.draw(components, drawn)
            found = checkpoint_files.write(components, folder, precision)
            if drawn:
                psnr_db = pictures.worst_psnr_db(pictures.draw(components, drawn), before)
                pictures.check(psnr_db, precision)
        graphs = _graphs(parts, shape, folder, found, references, on_graph)
        return _write(graphs, folder, components, shape, found, psnr_db)


def export_beside(source: str | None, on_graph: OnGraph) -> tuple[Manifest, Path]:
    """Write graphs and manifest into a checkpoint's own folder; they refer to its own weights.

    Args:
        source: see `find_checkpoint`; a folder with safetensors of one precision.
        on_graph: called with each graph that is ready.

    Returns:
        The manifest and the folder.

    Raises:
        CheckpointError: the checkpoint can't be loaded or exported, or has other weights.
        InputError: its folder can't be written.
    """
    where = find_checkpoint(source)
    if where.kind != "folder":
        raise InputError(
            f"{where.location} is not a checkpoint's folder; give an output folder by -o", "beside"
        )
    components = _load(where)
    folder, shape = components.directory, Shape.of(components)
    found = checkpoint_files.stored_in(components)
    if found is None:
        raise CheckpointError(
            f"{folder}: graphs can only be beside weights that are safetensors of one type, "
            "float32 or float16, with a tokenizer.json; export to a folder of its own, by -o"
        )
    graphs = _graphs(parts_of(components, shape), shape, folder, found, None, on_graph)
    return _write(graphs, folder, components, shape, found), folder


def _load(source: CheckpointSource) -> Components:
    return load_components(source, device="cpu", dtype=torch.float32)


def _graphs(
    parts: Sequence[Part],
    shape: Shape,
    folder: Path,
    weights: Weights,
    references: Mapping[str, list[Arrays]] | None,
    on_graph: OnGraph,
) -> list[ExportedGraph]:
    """Trace and check all parts.

    Args:
        parts: their networks have the stored weights.
        shape: the checkpoint's.
        folder: has the weights.
        weights: where they are.
        references: outputs by part with the checkpoint's own weights; None if they are the same.
        on_graph: called with each graph.
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
        graphs.append(ExportedGraph(part.name, content, tuple(files), comparison, rounding))
        on_graph(graphs[-1])
    return graphs


def _references(parts: Sequence[Part], shape: Shape) -> dict[str, list[Arrays]]:
    sizes = shape.compared()
    return {part.name: checking.torch_outputs(part, sizes) for part in parts}


def _write(
    graphs: Sequence[ExportedGraph],
    folder: Path,
    components: Components,
    shape: Shape,
    weights: Weights,
    psnr_db: float | None = None,
) -> Manifest:
    """Write graphs, then the manifest; nothing of them stays if that fails."""
    try:
        (folder / MANIFEST_NAME).unlink(missing_ok=True)  # an earlier one, of other graphs
        for graph in graphs:
            write_file(graph.content, folder / graph.file)
        names = {name for graph in graphs for name in (graph.file, *graph.weights)}
        manifest = Manifest(
            format=FORMAT,
            source=_name(components.source),
            precision=weights.precision,
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
                    difference=graph.comparison.difference,
                    tolerance=graph.comparison.tolerance,
                    rounding=graph.rounding,
                )
                for graph in graphs
            },
            files={name: describe_file(folder / name) for name in sorted(names)},
            other_files=checkpoint_files.others_in(folder),
            picture_psnr_db=psnr_db,
        )
        manifest.write(folder)
    except BaseException:
        for graph in graphs:
            (folder / graph.file).unlink(missing_ok=True)
        raise
    return manifest


def _name(source: CheckpointSource) -> str:
    """What was exported, without folders of this machine."""
    name = source.location if source.kind == "hub" else Path(source.location).resolve().name
    return f"{name}@{source.revision}" if source.revision else name


@contextmanager
def _folder(directory: Path) -> Iterator[Path]:
    """A temporary folder that becomes `directory` if the block succeeds."""
    try:
        with replaced_folder(directory.resolve()) as folder:
            yield folder
    except OSError as error:
        raise InputError(
            f"{str(directory)!r} cannot be written ({error.strerror or error}); make room there, "
            "or choose another place",
            "output",
        ) from error
