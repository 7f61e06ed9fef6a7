"""`riffusion dataset encode`: a data set of images becomes one of latents."""

from pathlib import Path
from typing import Annotated

import typer

from riffusion.cli.progress import progress_bar


def encode(
    dataset: Annotated[Path, typer.Argument(help="The data set, a folder.")],
    vae: Annotated[Path, typer.Option(help="Checkpoint folder whose VAE encodes.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Data-set folder to make, or to go on with.")
    ],
    clips_per_label: Annotated[
        int | None,
        typer.Option(
            min=1, help="At most so many of each label in each split.", show_default=False
        ),
    ] = None,
    levels_per_unit: Annotated[
        int,
        typer.Option(min=1, max=64, help="Fineness: 8 errs by 3.6 % of the latents' deviation."),
    ] = 8,
    cache: Annotated[
        Path | None,
        typer.Option(
            help="Folder of encoded latents to use or to keep, such as RUN/cache of a training.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Make a data set of latents, a small part of its images' size, to train elsewhere.

    Captions and labels stay. Diffusion models of the same VAE train from it as from the images;
    what needs images refuses it.
    """
    import torch
    from diffusers import AutoencoderKL

    from riffusion.datasets.encode import encode_dataset
    from riffusion.datasets.folder import DatasetFolder
    from riffusion.training.networks.build import load_network

    source = DatasetFolder(dataset)
    network = load_network(AutoencoderKL, vae, "vae").requires_grad_(False).eval()
    with progress_bar("encoding") as move:
        report = encode_dataset(
            source,
            network.to("cuda" if torch.cuda.is_available() else "cpu"),
            output,
            clips_per_label=clips_per_label,
            levels=levels_per_unit,
            cache=cache,
            progress=move,
        )
    counts = ", ".join(f"{count} latents for {name}" for name, count in report.num_rows.items())
    print(f"Wrote {output} ({counts}, {report.num_bytes / 1e6:.1f} MB)")
    if report.cut_share:
        print(f"Cut off: {report.cut_share:.2%} of the values; --levels-per-unit lower keeps them")
