"""`riffusion repaint`: a section of a recording, or a band of it, replaced from text."""

from typing import Annotated

import typer

from riffusion.cli import options
from riffusion.cli.clip_maker import ClipMaker
from riffusion.cli.edits import EditSeed, Song, edit_request, opened, print_seed, write_edit
from riffusion.cli.option_groups import (
    AdapterOptions,
    CheckpointOptions,
    EditOptions,
    expand_option_groups,
)


@expand_option_groups
def repaint(
    song: Song,
    prompt: Annotated[
        str, typer.Argument(help="What the section should sound like.", show_default=False)
    ],
    *,
    output: options.AudioOutput,
    from_: Annotated[
        str, typer.Option("--from", help="Start of the section, such as 12.3 or 1:30.")
    ],
    to: Annotated[str, typer.Option("--to", help="End of the section.")],
    low_hz: Annotated[
        float | None,
        typer.Option(help="Lowest frequency that changes; default: all.", show_default=False),
    ] = None,
    high_hz: Annotated[
        float | None,
        typer.Option(help="Highest frequency that changes; default: all.", show_default=False),
    ] = None,
    seed: EditSeed = None,
    diffusion: EditOptions,
    adapters: AdapterOptions,
    model: CheckpointOptions,
) -> None:
    """Replace a section of a recording. Everything outside of it stays, sample by sample.

    --denoising, by default 1, says how much of the section changes.
    """
    from riffusion.edit_fields import DEFAULT_DENOISING
    from riffusion.editing.regions import Region
    from riffusion.editing.repainting import repaint
    from riffusion.editing.times import parse_time

    region = Region(parse_time(from_, "from"), parse_time(to, "to"), low_hz, high_hz)
    fields = diffusion.edit_fields(DEFAULT_DENOISING["repaint"])
    inputs = edit_request(
        prompt, seed, fields, diffusion.request_fields() | adapters.request_fields(model)
    )
    with opened(song, output) as recording:
        region.samples_of(recording)  # before the checkpoint is loaded
        print_seed(inputs)
        generator = ClipMaker(model, adapters).generator
        write_edit(
            recording, output, lambda move: repaint(recording, generator, inputs, region, move)
        )
