"""`riffusion export`: a checkpoint as ONNX graphs, which run without torch."""

import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from riffusion.errors import CheckpointError, InputError

if TYPE_CHECKING:
    from riffusion.checkpoint.manifest import Manifest
    from riffusion.exporting.graphs import ExportedGraph


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
            help="How weights are stored: fp32, fp16 (default) or w8 (8-bit integers, half the "
            "size of fp16, for graphs only), with computation in single precision; or int8 (for "
            "CPUs) or w8a16 (for Qualcomm's NPUs), which also compute with integers of 8 or 16 "
            "bits, as far as images of the same seed stay as they are.",
            show_default=False,
        ),
    ] = None,
    report: Annotated[
        bool,
        typer.Option(
            "--report",
            help="Measure each part and print a table: time, size and memory, torch's beside "
            "them. Without -o and --beside: of all precisions, and nothing is kept.",
        ),
    ] = False,
    images: Annotated[
        int,
        typer.Option(
            min=0,
            max=8,
            help="How many prompts to draw before and after weights are integers (w8, int8, "
            "w8a16): below 30 dB of PSNR, exporting fails.",
        ),
    ] = 4,
    calibrate: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="How many clips to draw for the ranges of activations (int8, w8a16); default: 12.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Export a checkpoint as ONNX graphs, which run without torch.

    The text encoder, the UNet and both halves of the autoencoder become one graph each. Each graph
    is run by onnxruntime and compared with torch before it is written.
    """
    is_only_report = report and output is None and not beside
    if beside == (output is not None) and not is_only_report:
        raise InputError(
            "name the folder to write, as in -o exported, or give --beside or --report"
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
    _check_packages()
    from riffusion.exporting.export import NUM_CLIPS, export_beside, export_checkpoint
    from riffusion.exporting.rounding import CALIBRATED, PRECISIONS

    wanted = {*PRECISIONS} if is_only_report and precision is None else {precision or "fp16"}
    if calibrate is not None and wanted <= {*PRECISIONS} - {*CALIBRATED}:
        raise InputError(
            f"{calibrate} is for --precision {' and '.join(CALIBRATED)} only; leave it out",
            "calibrate",
        )

    num_clips = calibrate or NUM_CLIPS
    if is_only_report:
        _report_all(checkpoint, [precision] if precision else None, images, num_clips)
        return
    if output is None:
        manifest, folder = export_beside(checkpoint, _print_graph)
    else:
        folder = output
        manifest = export_checkpoint(
            checkpoint,
            output,
            precision or "fp16",
            _print_graph,
            num_images=images,
            num_clips=num_clips,
        )
    if manifest.image_psnr_db is not None:
        print(f"images of the same seed: {manifest.image_psnr_db:.1f} dB of PSNR or more")
    megabytes = manifest.network_bytes / 1e6
    print(f"Wrote {folder} ({megabytes:.1f} MB of graphs and {manifest.precision} weights)")
    if report:
        _print_report(checkpoint, {folder: manifest})


def _check_packages() -> None:
    """Check that the packages of the extra are there.

    Raises:
        InputError: one isn't.
    """
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
    except ModuleNotFoundError as error:
        if error.name not in ("onnx", "onnxruntime"):
            raise
        raise InputError(
            f"riffusion export needs {error.name}, which is not installed; install the extra "
            "`export` (pip install 'riffusion-truss[export]')"
        ) from error


def _report_all(
    checkpoint: str | None, precisions: list[str] | None, num_images: int, num_clips: int
) -> None:
    """Export in each precision into a temporary folder, and print a table of all.

    Where none is named, calibrated ones that the checkpoint doesn't allow are left out.
    """
    from riffusion.exporting.export import export_checkpoint
    from riffusion.exporting.rounding import CALIBRATED, PRECISIONS

    with tempfile.TemporaryDirectory() as temporary:
        exported = {}
        for precision in precisions or PRECISIONS:
            folder = Path(temporary, precision)
            try:
                exported[folder] = export_checkpoint(
                    checkpoint,
                    folder,
                    precision,
                    lambda _: None,
                    num_images=num_images,
                    num_clips=num_clips,
                )
            except CheckpointError as error:
                if precisions or precision not in CALIBRATED:
                    raise
                print(f"{precision} is left out: {error}", file=sys.stderr)
        _print_report(checkpoint, exported)


def _print_report(checkpoint: str | None, exported: "dict[Path, Manifest]") -> None:
    from riffusion.exporting.report import report

    print(*report(checkpoint, exported), sep="\n")


def _print_graph(graph: "ExportedGraph") -> None:
    line = (
        f"{graph.name:<13} {len(graph.content) / 1e3:.0f} KB, largest difference to torch "
        f"{graph.comparison.difference:.1e} (allowed: {graph.comparison.tolerance:.1e})"
    )
    if graph.rounding is not None:
        line += f"; {graph.rounding:.1e} with the weights before rounding"
    if graph.image_psnr_db is not None:
        line += (
            f"; in {graph.precision}, left out: {graph.left_out}; images of "
            f"{graph.image_psnr_db:.1f} dB"
        )
    print(line)
