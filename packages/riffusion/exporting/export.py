"""A checkpoint as a folder that runs without torch, or graphs beside a checkpoint.

checkpoint ─▶ load_components           networks in single precision on the CPU
           ─▶ copied, or converted      weights as safetensors, in the precision asked for
           ─▶ trace, attach_weights     one graph per part, which refers to these files
           ─▶ checking                  onnxruntime against torch, on random inputs
           ─▶ manifest.json             written last, so a folder that has one is complete

Everything is written under temporary names and renamed at the end, so a failure or Ctrl-C leaves
what was there before.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
from riffusion.diffusion.schedulers import SchedulerConfig, new_scheduler, scheduler_class
from riffusion.errors import CheckpointError, InputError
from riffusion.exporting import checking, checkpoint_files, images
from riffusion.exporting.checking import Arrays, Comparison
from riffusion.exporting.checkpoint_files import Weights
from riffusion.exporting.graph import OPSET, trace
from riffusion.exporting.parts import Part, Shape, parts_of
from riffusion.exporting.rounding import INTEGERS, PRECISIONS
from riffusion.exporting.weights import attach_weights
from riffusion.io.bundle import DISTRIBUTION
from riffusion.io.folders import is_vacant, replaced_files, replaced_folder

logger = logging.getLogger(__name__)


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
    num_images: int = 4,
) -> Manifest:
    """Export a checkpoint into a new folder, which torch can load as a checkpoint, too.

    Args:
        source: see `find_checkpoint`.
        directory: the folder; created, or empty.
        precision: type of the weights, one of `PRECISIONS`. Computation is in single precision.
        on_graph: called with each graph that is ready.
        num_images: how many images to draw before and after weights become integers.

    Raises:
        CheckpointError: the checkpoint can't be loaded or exported, or images change too much.
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
            drawn = num_images if precision in INTEGERS else 0
            before = images.draw(components, drawn)
            found = checkpoint_files.write(components, folder, precision)
            if drawn:
                psnr_db = images.worst_psnr_db(images.draw(components, drawn), before)
                images.check(psnr_db, precision)
        graphs = _graphs(parts, shape, folder, found, references, on_graph)
        return _write(graphs, folder, folder, components, shape, found, psnr_db)


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
    parts = parts_of(components, shape)
    with _writing(folder, "beside"), replaced_files(folder, MANIFEST_NAME) as new:
        graphs = _graphs(parts, shape, folder, found, None, on_graph)
        manifest = _write(graphs, new, folder, components, shape, found)
    return manifest, folder


def warn_of_sampler(scheduler: Any) -> None:
    """Warn if the light engine hasn't the sampler that a checkpoint uses where none is asked for.

    Args:
        scheduler: the checkpoint's, one of diffusers.
    """
    config = {**scheduler.config, "_class_name": scheduler_class(scheduler)}
    try:
        new_scheduler(None, SchedulerConfig(config))
    except InputError as error:
        logger.warning("the light engine lacks the checkpoint's own sampler: %s", error)


def _load(source: CheckpointSource) -> Components:
    components = load_components(source, device="cpu", dtype=torch.float32)
    warn_of_sampler(components.scheduler)
    return components


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
    new: Path,
    folder: Path,
    components: Components,
    shape: Shape,
    weights: Weights,
    psnr_db: float | None = None,
) -> Manifest:
    """Write graphs, then the manifest.

    Args:
        new: where to write them.
        folder: has all other files.
    """
    for graph in graphs:
        (new / graph.file).write_bytes(graph.content)
    places = {graph.file: new for graph in graphs}
    others = checkpoint_files.others_in(folder)
    names = {*places, *others, *(name for graph in graphs for name in graph.weights)}
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


@contextmanager
def _folder(directory: Path) -> Iterator[Path]:
    """A temporary folder that becomes `directory` if the block succeeds."""
    with _writing(directory, "output"), replaced_folder(directory.resolve()) as folder:
        yield folder


@contextmanager
def _writing(directory: Path, option: str) -> Iterator[None]:
    """Translate errors of writing a folder."""
    try:
        yield
    except OSError as error:
        another = "choose another place" if option == "output" else "export to another one, by -o"
        raise InputError(
            f"{str(directory)!r} cannot be written ({error.strerror or error}); make room there, "
            f"or {another}",
            option,
        ) from error
