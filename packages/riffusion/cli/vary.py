"""`riffusion vary`: variations of a recording."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from riffusion.cli import options
from riffusion.cli.clip_maker import ClipMaker
from riffusion.cli.clip_requests import build_request, check_weights, draw_seed
from riffusion.cli.edits import EditSeed, Song, opened, print_seed
from riffusion.cli.option_groups import AdapterOptions, CheckpointOptions, expand_option_groups
from riffusion.cli.outputs import path_with_seed
from riffusion.cli.progress import progress_bar

if TYPE_CHECKING:
    from riffusion.audio.recording import Recording
    from riffusion.audio.waveform import Waveform
    from riffusion.editing.splicing import Part

SolverSteps = Annotated[
    int,
    typer.Option(
        help="Steps to the noise and from it, 5 to 150; with more, a recording comes back closer."
    ),
]


@expand_option_groups
def vary(
    song: Song,
    *,
    output: options.AudioOutput,
    amount: Annotated[
        float,
        typer.Option(help="How much changes, from 0 (nothing) to 1 (everything)."),
    ] = 0.2,
    count: Annotated[
        int,
        typer.Option(
            help="Number of variations; more than 1 are named by their seeds, such as out-42.wav."
        ),
    ] = 4,
    prompt: Annotated[
        str, typer.Option(help="What is heard in the recording; may be left out.")
    ] = "",
    seed: EditSeed = None,
    solver_steps: SolverSteps = 20,
    adapters: AdapterOptions,
    model: CheckpointOptions,
) -> None:
    """Make variations of a recording of up to 60 seconds.

    The noise that the recording is made from is found (DDIM inversion), moved a little towards
    other noise, and made into sound again. How close the recording comes back from its own noise is
    printed.
    """
    from riffusion.editing.own_noise import check_solver_steps
    from riffusion.editing.varying import check_vary, vary

    check_solver_steps(solver_steps, "solver_steps")
    seed = draw_seed() if seed is None else seed
    inputs = build_request(
        {
            "start": {"prompt": prompt, "seed": seed},
            "num_inference_steps": solver_steps,
            **adapters.request_fields(model),
        }
    )
    check_weights(inputs)
    with opened(song, output) as recording:
        check_vary(recording, amount, count)
        print_seed(inputs)
        generator = ClipMaker(model, adapters).generator
        with progress_bar("diffusion") as move:
            made = vary(recording, generator, inputs, amount, count, move)
        print(f"recording   comes back {made.closeness[0]}")
        for index, parts in enumerate(made.clips):
            written(
                recording, parts, output if count == 1 else path_with_seed(output, seed + index)
            )


def written(recording: "Recording", parts: "list[Part]", path: Path | None) -> "Waveform":
    """The sound of a clip, (channels, samples), after writing it to a file.

    Args:
        recording: the recording whose rate, channels and bits it has.
        parts: the clip's parts, whose sound is computed here.
        path: file to write; None for none.
    """
    from riffusion.editing.pieces import sound_of
    from riffusion.editing.splicing import New, write_spliced

    waveform = sound_of(recording, parts)
    if path is not None:
        num_samples = write_spliced(recording, [New(waveform, 0.0)], path)
        print(f"Wrote {path} ({num_samples / recording.sample_rate:.2f} seconds)")
    return waveform
