"""`riffusion extend`: a recording continues, after its end and before its start."""

from typing import TYPE_CHECKING, Annotated

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
from riffusion.cli.progress import progress_bar
from riffusion.cli.retime import print_tempo

if TYPE_CHECKING:
    from riffusion.audio.recording import Recording


@expand_option_groups
def extend(
    song: Song,
    prompt: Annotated[
        str, typer.Argument(help="What the new part should sound like.", show_default=False)
    ],
    *,
    output: options.AudioOutput,
    after: Annotated[
        str | None,
        typer.Option(
            help="How long it continues after its end, such as 20 or 1:30; default: 10 seconds, "
            "unless --before is given.",
            show_default=False,
        ),
    ] = None,
    before: Annotated[
        str | None,
        typer.Option(help="How much comes before its start.", show_default=False),
    ] = None,
    tempo: Annotated[
        float | None,
        typer.Option(
            help="The recording's tempo in beats per minute, to a few percent; default: it is "
            "found.",
            show_default=False,
        ),
    ] = None,
    seed: EditSeed = None,
    diffusion: EditOptions,
    adapters: AdapterOptions,
    model: CheckpointOptions,
) -> None:
    """Let a recording go on, both ways, with its own beat. The recording itself stays.

    The new part begins as a repetition of the recording's last bars, and --denoising, by default
    0.7, says how far it moves away from them.
    """
    from riffusion.edit_fields import DEFAULT_AFTER_S, DEFAULT_DENOISING
    from riffusion.editing.extending import check_extension, extend
    from riffusion.editing.regions import check_length
    from riffusion.editing.times import parse_time
    from riffusion.loops.grid import checked_tempo

    if tempo is not None:
        checked_tempo(tempo)
    before_s = 0.0 if before is None else parse_time(before, "before")
    after_s = DEFAULT_AFTER_S if before is None else 0.0
    after_s = after_s if after is None else parse_time(after, "after")
    check_extension(after_s, before_s)
    fields = diffusion.edit_fields(DEFAULT_DENOISING["extend"])
    inputs = edit_request(
        prompt, seed, fields, diffusion.request_fields() | adapters.request_fields(model)
    )
    with opened(song, output) as recording:
        check_length(recording)
        bar_s = _bar_s(recording, tempo)
        print_seed(inputs)
        generator = ClipMaker(model, adapters).generator
        write_edit(
            recording,
            output,
            lambda move: extend(
                recording,
                generator,
                inputs,
                after_s=after_s,
                before_s=before_s,
                bar_s=bar_s,
                on_progress=move,
            ),
            before_s,
        )


def _bar_s(recording: "Recording", tempo: float | None) -> float:
    """Length of a bar; tempo and metre are found, and printed.

    Where no beat is found, a given tempo is taken as it is, with four beats per bar.

    Raises:
        InputError: no beat was found, and no tempo is given.
    """
    from riffusion.editing.bars import find_bar

    with progress_bar("listening") as move:
        bar = find_bar(recording, tempo, move)
    if bar.grid is None:
        print(
            f"tempo       {bar.tempo_bpm:.2f} bpm as given, four beats per bar: no beat was found"
        )
    else:
        print_tempo(bar.grid, "--tempo")
    return bar.length_s
