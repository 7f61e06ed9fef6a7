"""`riffusion retime`: another tempo and another key for a recording."""

import time
from typing import TYPE_CHECKING, Annotated

import typer

from riffusion.cli import options
from riffusion.cli.edits import Song, opened
from riffusion.cli.progress import progress_bar

if TYPE_CHECKING:
    from riffusion.editing.beat_grid import BeatGrid
    from riffusion.editing.key_finding import FoundKey


def retime(
    song: Song,
    *,
    output: options.AudioOutput,
    tempo: Annotated[
        float | None,
        typer.Option(help="Wanted tempo in beats per minute.", show_default=False),
    ] = None,
    from_tempo: Annotated[
        float | None,
        typer.Option(
            help="The recording's tempo, taken as exact; default: it is found.", show_default=False
        ),
    ] = None,
    key: Annotated[
        str | None,
        typer.Option(
            help="Wanted key, such as 'A minor' or F#; the recording's is found.",
            show_default=False,
        ),
    ] = None,
    semitones: Annotated[
        float | None,
        typer.Option(
            help="How far to move the pitch instead of --key; up is positive.", show_default=False
        ),
    ] = None,
) -> None:
    """Give a recording another tempo, another key, or both.

    The tempo changes at the same pitch, the pitch at the same tempo. Rate, channels and sample
    width stay the recording's, and its length changes exactly with the tempo.
    """
    from riffusion.editing.progress import counted
    from riffusion.editing.retiming import check_retiming, plan_retiming, retimed
    from riffusion.editing.splicing import New, write_spliced

    check_retiming(tempo, from_tempo, key, semitones)
    started = time.perf_counter()
    with opened(song, output) as recording:
        with progress_bar("listening") as move:
            plan = plan_retiming(
                recording,
                tempo_bpm=tempo,
                from_tempo_bpm=from_tempo,
                key=key,
                semitones=semitones,
                progress=move,
            )
        if plan.beats is not None:
            print_tempo(plan.beats)
        if plan.key is not None:
            print_key(plan.key)
        if plan.transposition is not None:
            print(f"moves       {plan.transposition.semitones:+d} semitones")
            if plan.transposition.remark:
                print(f"note        {plan.transposition.remark}")
        total = round(recording.num_samples * plan.length)
        with progress_bar("retiming") as move:
            parts = counted(retimed(recording, plan), total, move)
            num_samples = write_spliced(
                recording,
                [New(parts, 0.0)],
                output,
                recording.tags.without_tempo_and_key(),
            )
        seconds = time.perf_counter() - started
        duration_s = num_samples / recording.sample_rate
        print(f"retimed     {seconds:.2f} s: {recording.duration_s / seconds:.1f}× real time")
        print(f"Wrote {output} ({duration_s:.2f} seconds)")


def print_tempo(beats: "BeatGrid", option: str = "--from-tempo") -> None:
    """Print a recording's tempo, its certainty, and the tempo that it may be instead.

    Args:
        beats: its beats.
        option: the command's option for a recording's tempo.
    """
    steady = "steady" if beats.is_steady else "drifting"
    certainty = f"certainty {beats.certainty:.0%}"
    if beats.other_tempo_bpm is not None:
        certainty += f", else {beats.other_tempo_bpm:.2f}: {option} {beats.other_tempo_bpm:.0f}"
    print(f"tempo       {beats.tempo_bpm:.2f} bpm, {steady} ({certainty})")


def print_key(found: "FoundKey") -> None:
    """Print a recording's key and its certainty."""
    print(
        f"key         {found.key.name} (certainty {found.certainty:.0%}, else {found.second.name})"
    )
