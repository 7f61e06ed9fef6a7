"""An exported folder whose UNet and autoencoder compute with integers.

It begins as one of `w8`, and part after part is quantised (`quantising`), with ranges of inputs
that drawing clips gives (`calibration`). How much of a part is quantised is chosen by measured
quality: as much as leaves images of the same seed as they were, by `MIN_PSNR_DB`. A part for which
nothing does stays in `w8`. The text encoder always stays, since it takes a hundredth of the time.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import onnx
from onnx import ModelProto, NodeProto

from riffusion.checkpoint.files import QUANTISED_SUFFIXES
from riffusion.exporting import calibration, images
from riffusion.exporting.calibration import Inputs
from riffusion.exporting.graph import trace
from riffusion.exporting.images import Pixels
from riffusion.exporting.parts import Part, Shape
from riffusion.exporting.quantising import (
    QUANTISED,
    SCHEMES,
    float_graph,
    quantised_graph,
    ranges_of,
)
from riffusion.exporting.weights import move_weights
from riffusion.light.sessions import Session

Nodes = Sequence[NodeProto]
Shapes = dict[str, tuple[int, ...]]

PARTS = ("vae_decoder", "vae_encoder", "unet")
"""What is quantised, in this order."""
MIN_PSNR_DB = {
    "vae_decoder": images.MIN_PSNR_DB + 3,
    "vae_encoder": images.MIN_PSNR_DB + 3,
    "unet": images.MIN_PSNR_DB + 6,
}
"""Least PSNR of images that are drawn with a part and those before it quantised: the autoencoder
may make half of the error that is allowed. At 32 dB, a UNet of 8-bit activations lost the sounds
of 5 of 128 clips to an independent tagger; above 35 dB, the loss was within chance."""
_GREY_LEVELS = 255 / 2
"""Pixels in [-1, 1] to grey levels."""


@dataclass(frozen=True)
class Quantised:
    """A part that was quantised.

    Args:
        graph: the serialized graph.
        weights: the file that it refers to, relative to the folder.
        psnr_db: least PSNR of images with this part and those before it quantised.
        left_out: what stays in single precision, a key of `choices`.
    """

    graph: bytes
    weights: str
    psnr_db: float
    left_out: str


def ends(nodes: Nodes, shapes: Shapes) -> list[str]:
    """The first and the last convolution, which see images or latents."""
    del shapes
    convolutions = [node.name for node in nodes if node.op_type == "Conv"]
    return [*convolutions[:1], *convolutions[-1:]]


def narrow(nodes: Nodes, shapes: Shapes, num_widths: int = 1) -> list[str]:
    """Also layers of the fewest channels, which are at the highest resolution.

    Args:
        nodes, shapes: see `layers_of`.
        num_widths: how many numbers of channels to leave out.
    """
    outer = ends(nodes, shapes)
    channels = {
        node.name: min(shapes[node.input[1]][:2]) for node in nodes if node.name not in outer
    }
    fewest = sorted(set(channels.values()))[:num_widths]
    return [*outer, *(name for name, number in channels.items() if number in fewest)]


LEFT_OUT: dict[str, Callable[[Nodes, Shapes], list[str]]] = {
    "first and last convolution": ends,
    "first and last convolution, narrowest layers": narrow,
    "first and last convolution, two narrowest widths": partial(narrow, num_widths=2),
}
"""Layers that stay in single precision, from the fewest on; tried in this order."""
NOTHING = "nothing"
"""Also tried, and first, where activations have 16 bits."""


def choices(precision: str) -> dict[str, Callable[[Nodes, Shapes], list[str]]]:
    """What to try to leave out, see `LEFT_OUT`; an NPU is fastest where nothing is.

    Args:
        precision: a key of `SCHEMES`.
    """
    return LEFT_OUT if precision == "int8" else {NOTHING: _nothing, **LEFT_OUT}


def _nothing(nodes: Nodes, shapes: Shapes) -> list[str]:
    del nodes, shapes
    return []


def float_graphs(parts: Sequence[Part], shape: Shape, folder: Path) -> dict[str, Path]:
    """Write the graphs that `quantise` begins with into a folder; paths by part.

    Args:
        parts: with the checkpoint's own weights.
        shape: the checkpoint's.
        folder: for the files; about 1.5 times the size of the weights in single precision.

    Raises:
        CheckpointError: a part can't be exported, or is too large.
    """
    paths = {part.name: folder / f"{part.name}.onnx" for part in parts if part.name in PARTS}
    for part in parts:
        if part.name in paths:
            float_graph(trace(part, shape.smallest()), part, paths[part.name])
    return paths


def quantise(
    folder: Path,
    floats: dict[str, Path],
    expected: Sequence[Pixels],
    prompts: Sequence[str],
    num_clips: int,
    precision: str,
) -> dict[str, Quantised]:
    """Quantise the parts of a folder; their weights are written into it, and no graph.

    Args:
        folder: an exported checkpoint in `w8`.
        floats: graphs of `float_graph` by part, with the weights before rounding.
        expected: images that torch draws of `prompts` with these weights.
        prompts: what quality is measured with.
        num_clips: clips per preset that are drawn for calibration.
        precision: a key of `SCHEMES`.

    Returns:
        By part; without those that stay as they are.
    """
    recorded = calibration.record(folder, num_clips)
    found: dict[str, Quantised] = {}
    for name in PARTS:
        with tempfile.TemporaryDirectory() as scratch:
            ranges = ranges_of(floats[name], recorded[name], Path(scratch, "augmented.onnx"))
        layers, shapes = layers_of(floats[name])
        for left_out, chosen in choices(precision).items():
            model = quantised_graph(
                floats[name], ranges, chosen(layers, shapes), SCHEMES[precision]
            )
            candidate = _stored(model, name, folder, QUANTISED_SUFFIXES[precision])
            if name == "vae_encoder":
                psnr_db = _round_trip_psnr_db(folder, recorded[name][: len(prompts)])
            else:
                sessions = {part: _session(folder, part) for part in (*found, name)}
                pipeline = calibration.pipeline_of(folder, sessions)
                psnr_db = images.worst_psnr_db(images.draw(pipeline, prompts), expected)
            if psnr_db >= MIN_PSNR_DB[name]:
                found[name] = Quantised(*candidate, psnr_db, left_out)
                break
        else:
            (folder / candidate[1]).unlink()
            _candidate(folder, name).unlink()
    for name in found:
        _candidate(folder, name).unlink()
    return found


def layers_of(graph: Path) -> tuple[Nodes, Shapes]:
    """The nodes that can be quantised, and shapes of constants by name."""
    content = onnx.load(graph).graph
    shapes = {tensor.name: tuple(tensor.dims) for tensor in content.initializer}
    nodes = [it for it in content.node if it.op_type in QUANTISED and it.input[1] in shapes]
    return nodes, shapes


def _candidate(folder: Path, part: str) -> Path:
    return folder / f"{part}.candidate.onnx"


def _session(folder: Path, part: str) -> Session:
    return Session(_candidate(folder, part))


def _stored(model: ModelProto, part: str, folder: Path, suffix: str) -> tuple[bytes, str]:
    """Write a part's weights and the graph, as a candidate; both, and the weights' name."""
    file = f"{part.partition('_')[0]}/{part}{suffix}"
    move_weights(model, folder, file)
    model.graph.name = part
    model.producer_name, model.producer_version = "riffusion", ""
    content: bytes = model.SerializeToString(deterministic=True)
    _candidate(folder, part).write_bytes(content)
    return content, file


def _round_trip_psnr_db(folder: Path, inputs: Sequence[Inputs]) -> float:
    """Least PSNR of images that were encoded by the candidate to those by the folder's encoder.

    Both are decoded by the folder's decoder: latents have no unit, and images have.
    """
    candidate = {"vae_encoder": _session(folder, "vae_encoder")}
    found, expected = (
        [
            vae.decode(vae.posterior(it["pixels"])[0]).astype(np.float64) * _GREY_LEVELS
            for it in inputs
        ]
        for vae in (calibration.pipeline_of(folder, them).vae for them in (candidate, {}))
    )
    return images.worst_psnr_db(found, expected)
