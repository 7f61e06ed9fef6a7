"""`riffusion dataset shard`: a data set as tar files, which training streams."""

from pathlib import Path
from typing import Annotated

import typer

from riffusion.cli.progress import progress_bar

_PURPOSES = {"train": "training", "validation": "validation"}


def shard(
    dataset: Annotated[
        Path, typer.Argument(help="Data-set folder with images, or with encoded latents.")
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder of the tar files, to create.")
    ],
    shard_mb: Annotated[
        float, typer.Option(min=0.001, max=1000, help="About the size of a tar file, in MB.")
    ] = 16,
    seed: Annotated[
        int, typer.Option(min=0, help="Decides the order of the clips, which is random.")
    ] = 0,
) -> None:
    """Write a data set as WebDataset tar files, which `riffusion train` streams from any place.

    Copy the folder to a web server or to storage that fsspec knows, and name its address as
    data.dataset: nothing is copied to the machines that train. The same data set gives the same
    bytes.
    """
    from riffusion.datasets.folder import DatasetFolder
    from riffusion.datasets.shard_writer import write_shards

    with progress_bar("writing") as move:
        report = write_shards(DatasetFolder(dataset), output, round(shard_mb * 1e6), seed, move)
    counts = ", ".join(
        f"{count} clips for {_PURPOSES[split]} in {report.num_shards[split]} files"
        for split, count in report.num_rows.items()
    )
    print(f"Wrote {output} ({counts}, {report.num_bytes / 1e6:.1f} MB)")
