"""`riffusion export --report`: milliseconds, size and memory of each part, torch's beside them."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
import torch

import riffusion
from riffusion.checkpoint.loader import load_components
from riffusion.checkpoint.manifest import PARTS, Manifest
from riffusion.checkpoint.source import find_checkpoint
from riffusion.errors import GenerationError
from riffusion.exporting.measuring import milliseconds, peak_megabytes
from riffusion.exporting.parts import Shape, Sizes, parts_of

PHONE_MS = {"text_encoder": 4.65, "unet": 91.3, "vae_decoder": 183.5}
PHONE_MB = {"text_encoder": 163, "unet": 880, "vae_decoder": 59}
"""Published figures for comparison: Qualcomm AI Hub's Riffusion, of Stable Diffusion 1.5's shape,
with weights of 8 bits and activations of 16, on the NPU of a Galaxy S24."""


@dataclass(frozen=True)
class MeasuredPart:
    """What one part costs in one precision, for one row of a clip of the usual length.

    Args:
        part, precision: which one.
        megabytes: its graph with the weights that it uses.
        onnxruntime_ms, torch_ms: median time of a call.
        peak_mb: peak memory of a process with this part alone in onnxruntime; None where the system
            doesn't say.
    """

    part: str
    precision: str
    megabytes: float
    onnxruntime_ms: float
    torch_ms: float
    peak_mb: float | None


@dataclass(frozen=True)
class MeasuredParts:
    """What a checkpoint's parts cost.

    Args:
        rows: of all precisions.
        whole_mb: by precision, peak memory of a process with all four parts.
        torch_mb: that of this process, with torch.
        shape: the checkpoint's.
    """

    rows: list[MeasuredPart]
    whole_mb: dict[str, float | None]
    torch_mb: float | None
    shape: Shape


def measured_parts(source: str | None, exported: Mapping[Path, Manifest]) -> MeasuredParts:
    """Measure each part: by onnxruntime in a process of its own, by torch in this one.

    Args:
        source: the checkpoint, see `find_checkpoint`.
        exported: manifests by folder, of the same checkpoint.

    Raises:
        CheckpointError: the checkpoint can't be loaded.
        GenerationError: a process that measures failed.
    """
    components = load_components(find_checkpoint(source), device="cpu", dtype=torch.float32)
    shape = Shape.of(components)
    sizes = Sizes(1, shape.clip_height, shape.clip_width, 1)
    torch_ms = {}
    for part in parts_of(components, shape):
        inputs = part.random_inputs(sizes, torch.Generator().manual_seed(0))
        with torch.inference_mode():
            torch_ms[part.name] = milliseconds(lambda it=part, given=inputs: it.module(**given))  # type: ignore[misc] # a lambda's defaults have no types
    torch_mb = peak_megabytes()
    rows, whole_mb = [], {}
    for folder, manifest in exported.items():
        for name in PARTS:
            found = _measured(folder, manifest, sizes, name)
            megabytes = _megabytes(manifest.graph_path(folder, name))
            rows.append(
                MeasuredPart(
                    name,
                    manifest.precision,
                    megabytes,
                    found[name],
                    torch_ms[name],
                    found["peak_mb"],
                )
            )
        whole_mb[manifest.precision] = _measured(folder, manifest, sizes, *PARTS)["peak_mb"]
    return MeasuredParts(rows, whole_mb, torch_mb, shape)


def report(source: str | None, exported: Mapping[Path, Manifest]) -> list[str]:
    """A table in Markdown, one line per part and precision; see `measured_parts`."""
    measured = measured_parts(source, exported)
    shape = measured.shape
    lines = [
        "| part | precision | MB | onnxruntime, ms | peak MB | torch, ms | phone, ms (MB) |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in measured.rows:
        cells = (
            row.part,
            row.precision,
            f"{row.megabytes:.1f}",
            f"{row.onnxruntime_ms:.1f}",
            _rounded(row.peak_mb),
            f"{row.torch_ms:.1f}",
            _phone(row.part),
        )
        lines.append(f"| {' | '.join(cells)} |")
    whole = [f"{name} {_rounded(peak_mb)} MB" for name, peak_mb in measured.whole_mb.items()]
    pixels = f"{shape.clip_width * shape.fixed.pixels_per_latent}"
    pixels += f" × {shape.clip_height * shape.fixed.pixels_per_latent}"
    return [
        *lines,
        "",
        f"One row of {pixels} pixels and {shape.fixed.tokens} tokens, float32, "
        f"{torch.get_num_threads()} threads on {platform.machine()} with {os.cpu_count()} cores. "
        "Sizes are those of a graph with its weights; the halves of the autoencoder share a file, "
        "of which each is counted with what it uses. Peak memory is that of a process with the one "
        "part.",
        f"A process with all four parts: onnxruntime {', '.join(whole)}; torch "
        f"{_rounded(measured.torch_mb)} MB.",
        "Phone: published figures for Stable Diffusion 1.5's shape with weights of 8 bits, on the "
        "NPU of a Galaxy S24; not measured here.",
    ]


def _measured(folder: Path, manifest: Manifest, sizes: Sizes, *parts: str) -> dict[str, Any]:
    numbers = {
        "threads": torch.get_num_threads(),
        "rows": sizes.rows,
        "tokens": sizes.chunks * manifest.shape.tokens,
        "height": sizes.height,
        "width": sizes.width,
        "pixels_per_latent": manifest.shape.pixels_per_latent,
    }
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "riffusion.exporting.measuring",
            folder,
            json.dumps(numbers),
            *parts,
        ],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": _packages()},
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise GenerationError(f"measuring {', '.join(parts)} failed ({last}); free some memory")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _packages() -> str:
    """Where the child finds this package, before what the caller has set."""
    here = str(Path(riffusion.__file__).parents[1])
    return os.pathsep.join([here, *filter(None, [os.environ.get("PYTHONPATH")])])


def _megabytes(graph: Path) -> float:
    """Size of a graph and of the weights that it uses."""
    tensors = onnx.load(graph, load_external_data=False).graph.initializer
    places = [{entry.key: entry.value for entry in it.external_data} for it in tensors]
    used = sum(int(place.get("length", 0)) for place in places)
    return (graph.stat().st_size + used) / 1e6


def _rounded(megabytes: float | None) -> str:
    return "–" if megabytes is None else f"{megabytes:,.0f}"


def _phone(part: str) -> str:
    return f"{PHONE_MS[part]:g} ({PHONE_MB[part]})" if part in PHONE_MS else "–"
