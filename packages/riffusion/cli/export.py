"""`riffusion export`: a checkpoint as ONNX graphs, which run without torch."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from riffusion.errors import InputError

if TYPE_CHECKING:
    from riffusion.exporting.export import ExportedGraph


def export(
    checkpoint: Annotated[
        str | None,
        typer.Argument(
            help="Checkpoint: a folder, a .safetensors or .ckpt file, or a Hugging Face id. "
            "Default: RIFFUSION_CHECKPOINT, else the embedded checkpoint.",
            show_default=False,
        ),
    ] = None,
    *,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder to write; new or empty.", show_default=False),
    ] = None,
    beside: Annotated[
        bool,
        typer.Option(
            "--beside",
            help="Write the graphs into the checkpoint's own folder. They use its own weights, so "
            "they take little space.",
        ),
    ] = False,
    precision: Annotated[
        str | None,
        typer.Option(
            help="How weights are stored: fp32, fp16 or w8 (8-bit integers, half the size of fp16, "
            "for graphs only); default: fp16. Computation is in single precision.",
            show_default=False,
        ),
    ] = None,
    pictures: Annotated[
        int,
        typer.Option(
            min=0,
            max=8,
            help="How many pictures to draw with w8 and without it: below 30 dB of PSNR, exporting "
            "fails.",
        ),
    ] = 4,
) -> None:
    """Export a checkpoint as ONNX graphs, which run without torch.

    The text encoder, the UNet and both halves of the autoencoder become one graph each. Each graph
    is run by onnxruntime and compared with torch before it is written.
    """
    if beside == (output is not None):
        raise InputError(
            "name the folder to write, as in -o exported, or give --beside"
            if output is None
            else "cannot be combined with --beside; leave one of them out",
            "output",
        )
    if beside and precision is not None:
        raise InputError(
            f"{precision!r} cannot be combined with --beside, which uses the checkpoint's own "
            "weights; leave it out",
            "precision",
        )
    try:
        from riffusion.exporting.export import export_beside, export_checkpoint
    except ModuleNotFoundError as error:
        if error.name not in ("onnx", "onnxruntime"):
            raise
        raise InputError(
            f"riffusion export needs {error.name}, which is not installed; install the extra "
            "`export` (pip install 'riffusion-truss[export]')"
        ) from error
    if output is None:
        manifest, folder = export_beside(checkpoint, _print_graph)
    else:
        folder = output
        manifest = export_checkpoint(
            checkpoint, output, precision or "fp16", _print_graph, num_pictures=pictures
        )
    if manifest.picture_psnr_db is not None:
        print(f"pictures of the same seed: {manifest.picture_psnr_db:.1f} dB of PSNR or more")
    size = sum(file.bytes for file in manifest.files.values())
    print(f"Wrote {folder} ({size / 1e6:.1f} MB of graphs and {manifest.precision} weights)")


def _print_graph(graph: "ExportedGraph") -> None:
    line = (
        f"{graph.name:<13} {len(graph.content) / 1e3:.0f} KB, largest difference to torch "
        f"{graph.comparison.difference:.1e} (allowed: {graph.comparison.tolerance:.1e})"
    )
    if graph.rounding is not None:
        line += f"; {graph.rounding:.1e} with the weights before rounding"
    print(line)
