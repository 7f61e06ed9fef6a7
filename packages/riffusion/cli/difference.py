"""`riffusion difference`: what an edit changed, as sound."""

import math
from pathlib import Path
from typing import Annotated

import typer

from riffusion.cli import options
from riffusion.cli.edits import opened


def difference(
    before: Annotated[Path, typer.Argument(help="Audio file before the edit.", show_default=False)],
    after: Annotated[Path, typer.Argument(help="Audio file after it.", show_default=False)],
    *,
    output: options.AudioOutput,
) -> None:
    """Write what differs between two recordings: AFTER minus BEFORE.

    Both need the same sample rate, channels and length. As wav, or flac of up to 24 bits, the
    difference is exact: added to BEFORE, it gives AFTER. Where it is beyond full scale, it clips
    there, and the number of such samples is printed.
    """
    from riffusion.audio.recording import Recording
    from riffusion.editing.difference import check_alike, write_difference
    from riffusion.editing.times import format_time

    with opened(before, output) as old, Recording.open(after) as new:
        check_alike(old, new)
        found = write_difference(old, new, output)
        if found.stop == 0:
            print("difference  none: the recordings are equal")
        else:
            start, stop = (format_time(at / old.sample_rate) for at in (found.start, found.stop))
            peak_db = 20 * math.log10(found.peak)
            print(f"difference  from {start} to {stop}, with a peak of {peak_db:.1f} dB")
        if found.num_clipped:
            print(f"clipped     {found.num_clipped} samples, beyond full scale")
        print(f"Wrote {output} ({old.duration_s:.2f} seconds)")
