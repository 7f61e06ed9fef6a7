"""What the commands that edit a recording share: reading it, and writing the edited one."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from riffusion.cli.clip_requests import build_request, check_weights, draw_seed
from riffusion.cli.outputs import check_audio_output
from riffusion.cli.progress import progress_bar

if TYPE_CHECKING:
    from riffusion.audio.recording import Recording
    from riffusion.datatypes import InferenceInput
    from riffusion.editing.splicing import Part

Song = Annotated[
    Path, typer.Argument(help="Audio file: mono or stereo, of any length.", show_default=False)
]
EditSeed = Annotated[
    int | None,
    typer.Option(
        help="The same seed makes the same edit; default: a random seed, which is printed.",
        show_default=False,
    ),
]


def edit_request(
    prompt: str, seed: int | None, fields: dict[str, Any], request: dict[str, Any]
) -> "InferenceInput":
    """The request of an edit; its seed is drawn if none is given.

    Raises:
        InputError: a value or a prompt's weight is out of range.
    """
    seed = draw_seed() if seed is None else seed
    inputs = build_request({"start": {"prompt": prompt, "seed": seed, **fields}, **request})
    check_weights(inputs)
    return inputs


def print_seed(inputs: "InferenceInput") -> None:
    """Print a request's seed, once all that is given has been checked."""
    print(f"seed        {inputs.start.seed}")


@contextmanager
def opened(song: Path, output: Path) -> Iterator["Recording"]:
    """The recording; the output is checked before. It may be the recording's own file.

    Raises:
        InputError: a file can't be read or written.
    """
    from riffusion.audio.recording import Recording

    check_audio_output(output)
    with Recording.open(song) as recording:
        print(f"recording   {described(recording)}")
        yield recording


def described(recording: "Recording") -> str:
    """Length and format of a recording, in words."""
    channels = "mono" if recording.num_channels == 1 else "stereo"
    return (
        f"{recording.duration_s:.2f} s, {channels}, {recording.sample_rate} Hz, "
        f"{recording.bits} bits"
    )


def write_edit(
    recording: "Recording",
    output: Path,
    edit: Callable[[Callable[[int, int], None]], "list[Part]"],
    starts_earlier_s: float = 0.0,
) -> None:
    """Make an edit with a progress bar, write the edited recording, and say how long it took.

    Args:
        recording: the recording.
        output: path of the edited one.
        edit: makes the edit's parts; takes the function to report its progress to.
        starts_earlier_s: how much sound comes before the recording's start.
    """
    from riffusion.editing.splicing import write_spliced

    started = time.perf_counter()
    with progress_bar("diffusion") as move:
        parts = edit(move)
    drawn = time.perf_counter()
    earlier = round(starts_earlier_s * recording.sample_rate)
    tags = recording.tags.with_start_moved(-earlier, recording.sample_rate)
    num_samples = write_spliced(recording, parts, output, tags)
    done = time.perf_counter()
    print(f"diffusion   {drawn - started:.2f} s")
    print(f"audio       {done - drawn:.2f} s")
    print(f"Wrote {output} ({num_samples / recording.sample_rate:.2f} seconds)")
