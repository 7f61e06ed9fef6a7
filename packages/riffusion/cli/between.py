"""`riffusion between`: clips that lead from one recording to another."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from riffusion.cli import options
from riffusion.cli.clip_maker import ClipMaker
from riffusion.cli.clip_requests import build_request, check_weights
from riffusion.cli.edits import described, opened
from riffusion.cli.option_groups import AdapterOptions, CheckpointOptions, expand_option_groups
from riffusion.cli.outputs import check_output_dir
from riffusion.cli.progress import progress_bar
from riffusion.cli.vary import SolverSteps, written
from riffusion.errors import InputError

if TYPE_CHECKING:
    from riffusion.audio.recording import Recording
    from riffusion.audio.waveform import Waveform
    from riffusion.editing.splicing import Part

_AUDIBLE_S = 0.01
"""A recording that is shorter than the other by less than this is of the same length."""


@expand_option_groups
def between(
    first: Annotated[Path, typer.Argument(help="Audio file to begin with.", show_default=False)],
    last: Annotated[Path, typer.Argument(help="Audio file to arrive at.", show_default=False)],
    *,
    output: options.AudioOutput,
    steps: Annotated[
        int, typer.Option(help="Number of clips, the first and the last one included.")
    ] = 6,
    clips_dir: Annotated[
        Path | None,
        typer.Option(help="Also write each clip to this folder.", show_default=False),
    ] = None,
    prompt: Annotated[
        str, typer.Option(help="What is heard in the first recording; may be left out.")
    ] = "",
    prompt_b: Annotated[
        str | None,
        typer.Option(
            help="What is heard in the last recording; default: the same.", show_default=False
        ),
    ] = None,
    crossfade: Annotated[float, typer.Option(help="Crossfade between clips in seconds.")] = 0.1,
    solver_steps: SolverSteps = 20,
    adapters: AdapterOptions,
    model: CheckpointOptions,
) -> None:
    """Make a piece that moves from one recording to another.

    The noise that each recording is made from is found (DDIM inversion), and each clip is made from
    noise between the two. How close the recordings come back from their own noise is printed.

    The clips are as long as the shorter recording, up to 60 seconds. They are joined with
    crossfades: each clip repeats its own beginning while the next one fades in.
    """
    from riffusion.audio.recording import Recording
    from riffusion.audio.tags import NO_TAGS
    from riffusion.editing.own_noise import check_solver_steps
    from riffusion.editing.pieces import joined
    from riffusion.editing.splicing import New, write_spliced
    from riffusion.editing.varying import between, check_between

    check_solver_steps(solver_steps, "solver_steps")
    if not 0 <= crossfade <= 1:
        raise InputError(f"{crossfade} must be from 0 to 1 second", field="crossfade")
    ends = [prompt, prompt if prompt_b is None else prompt_b]
    inputs = build_request(
        {
            "start": {"prompt": ends[0], "seed": 0},
            "end": {"prompt": ends[1], "seed": 0},
            "num_inference_steps": solver_steps,
            **adapters.request_fields(model),
        }
    )
    check_weights(inputs)
    with opened(first, output) as one, Recording.open(last) as other:
        print(f"to          {described(other)}")
        check_between(one, other, steps)
        _check_crossfade(crossfade, one, other)
        if abs(one.duration_s - other.duration_s) > _AUDIBLE_S:
            shortest_s = min(one.duration_s, other.duration_s)
            print(f"length      {shortest_s:.2f} s: that of the shorter recording")
        if clips_dir is not None:
            check_output_dir(clips_dir)
        generator = ClipMaker(model, adapters).generator
        with progress_bar("diffusion") as move:
            made = between(one, other, generator, inputs, steps, move)
        for name, closeness in zip(("first", "last"), made.closeness, strict=True):
            print(f"{name:<12}comes back {closeness}")
        clips = _written_clips(one, made.clips, clips_dir, output.suffix)
        piece = joined(clips, one.sample_rate, crossfade)
        num_samples = write_spliced(one, [New(piece, 0.0)], output, NO_TAGS)
        print(f"Wrote {output} ({num_samples / one.sample_rate:.2f} seconds)")


def _written_clips(
    one: "Recording", clips: "list[list[Part]]", folder: Path | None, suffix: str
) -> "Iterator[Waveform]":
    """The sound of each clip, after writing it to the folder if there is one."""
    for index, parts in enumerate(clips):
        path = None
        if folder is not None:
            path = folder / f"clip_{index:03}_alpha_{index / (len(clips) - 1):.3f}{suffix}"
        yield written(one, parts, path)


def _check_crossfade(crossfade: float, one: "Recording", other: "Recording") -> None:
    clip_s = min(one.duration_s, other.duration_s)
    if crossfade > clip_s:
        raise InputError(
            f"{crossfade} is longer than a clip of {clip_s:g} s; shorten it", field="crossfade"
        )
