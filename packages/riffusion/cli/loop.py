"""`riffusion loop`: a perfect loop out of a recording."""

import time
from itertools import repeat
from typing import Annotated

import typer

from riffusion.cli import options
from riffusion.cli.edits import Song, opened
from riffusion.cli.progress import progress_bar
from riffusion.cli.retime import print_tempo


def loop(
    song: Song,
    *,
    output: options.AudioOutput,
    beats: Annotated[int, typer.Option(help="Length in beats, 1 to 256.")] = 8,
    tempo: Annotated[
        float | None,
        typer.Option(
            help="Stretch the loop to this tempo in beats per minute; default: the recording's.",
            show_default=False,
        ),
    ] = None,
    from_: Annotated[
        str | None,
        typer.Option(
            "--from",
            help="Begin at the downbeat nearest to this time, such as 30 or 1:30.5; default: the "
            "one with the best seam.",
            show_default=False,
        ),
    ] = None,
    from_tempo: Annotated[
        float | None,
        typer.Option(
            help="The recording's tempo, to a few percent; default: it is found.",
            show_default=False,
        ),
    ] = None,
    times: Annotated[int, typer.Option(help="How often the loop is in the output, 1 to 1000.")] = 1,
) -> None:
    """Cut a perfect loop out of a recording.

    The loop has whole beats, begins on a downbeat, and its end leads into its start. Its length is
    exact to the sample, so it can be repeated for any time.
    """
    from riffusion.editing.clip_looping import check_times
    from riffusion.editing.looping import check_loop, cut_out_loop
    from riffusion.editing.splicing import New, write_spliced
    from riffusion.editing.times import format_time, parse_time

    from_s = None if from_ is None else parse_time(from_, "from")
    check_loop(beats, tempo, from_s, from_tempo)
    check_times(times)
    started = time.perf_counter()
    with opened(song, output) as recording:
        with progress_bar("listening") as move:
            made = cut_out_loop(
                recording,
                beats=beats,
                tempo_bpm=tempo,
                from_s=from_s,
                from_tempo_bpm=from_tempo,
                progress=move,
            )
        print_tempo(made.grid)
        print(
            f"loop        {made.beats} beats at {made.tempo_bpm:.2f} bpm, from "
            f"{format_time(made.start_s)} to {format_time(made.end_s)}"
        )
        print(f"seam        {made.seam_novelty:.2f} of the strongest onset inside")
        if made.seam_novelty > 1:
            print("note        the seam stands out; try other --beats, or another place by --from")
        repeated = New(repeat(made.waveform, times), 0.0)
        tags = recording.tags if tempo is None else recording.tags.without_tempo_and_key()
        start = round(made.start_s * recording.sample_rate)
        tags = tags.with_start_moved(start, recording.sample_rate)
        num_samples = write_spliced(recording, [repeated], output, tags)
        seconds = time.perf_counter() - started
        print(f"made in     {seconds:.2f} s: {recording.duration_s / seconds:.1f}× real time")
        print(f"Wrote {output} ({num_samples / recording.sample_rate:.2f} seconds)")
