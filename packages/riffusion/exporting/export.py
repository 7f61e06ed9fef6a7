"""A checkpoint as a folder that runs without torch, or graphs beside a checkpoint.

checkpoint ─▶ load_components           networks in single precision on the CPU
           ─▶ copied, or converted      weights as safetensors, in the precision asked for
           ─▶ trace, attach_weights     one graph per part, which refers to these files
           ─▶ checking                  onnxruntime against torch, on random inputs
           ─▶ quantised (int8, w8a16)   computing with integers, as far as images stay
           ─▶ manifest.json             written last, so a folder that has one is complete

Everything is written under temporary names and renamed at the end, so a failure or Ctrl-C leaves
what was there before.
"""

from __future__ import annotations

import dataclasses
import logging
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from riffusion.checkpoint.loader import Components, load_components
from riffusion.checkpoint.manifest import MANIFEST_NAME, Manifest
from riffusion.checkpoint.source import CheckpointSource, find_checkpoint
from riffusion.diffusion.scheduler_config import SchedulerConfig
from riffusion.diffusion.schedulers import new_scheduler, scheduler_class
from riffusion.errors import CheckpointError, InputError
from riffusion.exporting import checking, checkpoint_files, images, quantised_parts
from riffusion.exporting.calibration import pipeline_of
from riffusion.exporting.checking import Arrays
from riffusion.exporting.graphs import (
    ExportedGraph,
    OnGraph,
    checked_graphs,
    references_of,
    write_graphs,
)
from riffusion.exporting.images import Pixels
from riffusion.exporting.parts import Part, Shape, parts_of
from riffusion.exporting.rounding import CALIBRATED, INTEGERS, PRECISIONS
from riffusion.io.folders import is_vacant, replaced_files, replaced_folder

logger = logging.getLogger(__name__)

NUM_IMAGES = 4
"""Prompts that quality is measured with, unless the caller says otherwise."""
NUM_CLIPS = 12
"""Clips per preset that `CALIBRATED` precisions are calibrated with, likewise."""


def export_checkpoint(
    source: str | None,
    directory: Path,
    precision: str,
    on_graph: OnGraph,
    *,
    num_images: int = NUM_IMAGES,
    num_clips: int = NUM_CLIPS,
) -> Manifest:
    """Export a checkpoint into a new folder. Torch can load it, too, unless weights are integers.

    Args:
        source: see `find_checkpoint`.
        directory: the folder; created, or empty.
        precision: type of the weights, one of `PRECISIONS`. Computation is in single precision,
            but for `CALIBRATED`.
        on_graph: called with each graph that is ready.
        num_images: how many prompts to draw before and after weights become integers.
        num_clips: how many clips per preset to draw for the calibration of `CALIBRATED`.

    Raises:
        CheckpointError: the checkpoint can't be loaded or exported, or images change too much.
        InputError: the precision is unknown, or the folder can't be written or isn't empty.
    """
    if precision not in PRECISIONS:
        raise InputError(f"{precision!r} must be one of {', '.join(PRECISIONS)}", "precision")
    if precision in CALIBRATED and not (num_images and num_clips):
        raise InputError(
            f"{precision} is chosen by the quality of images, so draw at least one, and calibrate "
            "with at least one clip",
            "calibrate" if num_images else "images",
        )
    if directory.exists() and not is_vacant(directory):
        raise InputError(
            f"{str(directory)!r} exists and is not empty; choose a new folder, or delete this one",
            "output",
        )
    components = _load(find_checkpoint(source))
    shape = Shape.of(components)
    parts = parts_of(components, shape)
    with _folder(directory) as folder:
        found = checkpoint_files.stored_in(components)
        if found is not None and found.precision == precision:
            checkpoint_files.copy(components, folder)
            graphs = checked_graphs(parts, shape, folder, found, None, on_graph)
            return write_graphs(graphs, folder, folder, components, shape, precision)
        if precision in INTEGERS:
            export = _Integers(components, shape, parts, folder, on_graph)
            return export.write(precision, images.PROMPTS[:num_images], num_clips)
        is_rounded = checkpoint_files.is_rounded_in(components, precision)
        references = references_of(parts, shape) if is_rounded else None
        found = checkpoint_files.write(components, folder, precision)
        graphs = checked_graphs(parts, shape, folder, found, references, on_graph)
        return write_graphs(graphs, folder, folder, components, shape, precision)


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
        graphs = checked_graphs(parts, shape, folder, found, None, on_graph)
        manifest = write_graphs(graphs, new, folder, components, shape, found.precision)
    return manifest, folder


@dataclasses.dataclass(frozen=True)
class _Integers:
    """Exports weights as integers, and measures what that changes.

    Args:
        components: a loaded checkpoint; its weights become those that are stored.
        shape: its shape.
        parts: its parts.
        folder: where to write.
        on_graph: called with each graph.
    """

    components: Components
    shape: Shape
    parts: Sequence[Part]
    folder: Path
    on_graph: OnGraph

    def write(self, precision: str, prompts: Sequence[str], num_clips: int) -> Manifest:
        """Write the folder.

        Raises:
            CheckpointError: images change too much.
        """
        references = references_of(self.parts, self.shape)
        pipeline = images.torch_pipeline(self.components)
        expected = images.draw(pipeline, prompts)
        with tempfile.TemporaryDirectory() as scratch:
            floats = {}
            if precision in CALIBRATED:
                floats = quantised_parts.float_graphs(self.parts, self.shape, Path(scratch))
            stored = checkpoint_files.write(self.components, self.folder, "w8")
            psnr_db = None
            if prompts:
                psnr_db = images.worst_psnr_db(images.draw(pipeline, prompts), expected)
                images.check(psnr_db, "w8", "fp16")
            on_graph = self.on_graph if precision == "w8" else _ignore
            graphs = checked_graphs(
                self.parts, self.shape, self.folder, stored, references, on_graph
            )
            manifest = self._written(graphs, "w8", psnr_db)
            if precision == "w8":
                return manifest
            found = quantised_parts.quantise(
                self.folder, floats, expected, prompts, num_clips, precision
            )
        return self._quantised(precision, graphs, found, references, prompts, expected)

    def _quantised(
        self,
        precision: str,
        graphs: Sequence[ExportedGraph],
        found: Mapping[str, quantised_parts.Quantised],
        references: Mapping[str, Sequence[Arrays]],
        prompts: Sequence[str],
        expected: Sequence[Pixels],
    ) -> Manifest:
        sizes = self.shape.compared()
        by_name = {part.name: part for part in self.parts}
        replaced = []
        for graph in graphs:
            part = found.get(graph.name)
            if part is not None:
                outputs = checking.onnx_outputs(part.graph, self.folder, by_name[graph.name], sizes)
                graph = dataclasses.replace(
                    graph,
                    content=part.graph,
                    weights=(part.weights,),
                    precision=precision,
                    rounding=checking.compare(outputs, references[graph.name]).difference,
                    image_psnr_db=part.psnr_db,
                    left_out=part.left_out,
                )
            replaced.append(graph)
            self.on_graph(graph)
        used = {name for graph in replaced for name in graph.weights}
        for path in self.folder.rglob("*.safetensors"):
            if path.relative_to(self.folder).as_posix() not in used:
                path.unlink()
        self._written(replaced, precision, None)
        drawn = images.draw(pipeline_of(self.folder, {}), prompts)
        psnr_db = images.worst_psnr_db(drawn, expected)
        images.check(psnr_db, precision, "w8")
        return self._written(replaced, precision, psnr_db)

    def _written(
        self, graphs: Sequence[ExportedGraph], precision: str, psnr_db: float | None
    ) -> Manifest:
        folder = self.folder
        return write_graphs(graphs, folder, folder, self.components, self.shape, precision, psnr_db)


def _ignore(_: ExportedGraph) -> None:
    """For graphs that will be replaced."""


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
