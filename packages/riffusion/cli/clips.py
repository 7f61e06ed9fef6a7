"""`riffusion sample-clips` and `sample-clips-batch`."""

import random
from pathlib import Path
from typing import Annotated

import typer

from riffusion.cli import options
from riffusion.cli.folder_batch import BatchItem, list_batch, run_batch
from riffusion.cli.outputs import check_output_dir, checked_extension, write_segment
from riffusion.cli.progress import progress_bar
from riffusion.errors import InputError


def sample_clips(
    *,
    audio: Annotated[str, typer.Option(help="Audio file to cut clips from.")],
    output_dir: options.OutputDir,
    num_clips: Annotated[int, typer.Option(help="Number of clips.")] = 1,
    duration_ms: options.DurationMs = 5120,
    mono: options.Mono = False,
    extension: options.ClipExtension = "wav",
    seed: options.SamplingSeed = -1,
) -> None:
    """Cut clips at random places out of an audio file."""
    _check_at_least_1(num_clips=num_clips, duration_ms=duration_ms)
    from riffusion.audio import convert, read_audio
    from riffusion.audio.sampling import cut_clip, sample_starts_ms

    extension = checked_extension(extension)
    segment = read_audio(audio)
    starts = sample_starts_ms(segment, duration_ms, num_clips, _rng(seed))
    check_output_dir(Path(output_dir))
    if mono:
        segment = convert(segment, channels=1)
    with progress_bar("clips") as move:
        for i, start_ms in enumerate(starts):
            name = f"clip_{i}_start_{start_ms}_ms_duration_{duration_ms}_ms.{extension}"
            path = Path(output_dir, name)
            write_segment(cut_clip(segment, start_ms, duration_ms), path)
            move(i + 1, num_clips)
            print(f"Wrote {path}")


def sample_clips_batch(
    *,
    audio_dir: options.AudioDir,
    output_dir: options.OutputDir,
    num_clips_per_file: Annotated[int, typer.Option(help="Number of clips per file.")] = 1,
    duration_ms: options.DurationMs = 5120,
    mono: options.Mono = False,
    extension: options.ClipExtension = "mp3",
    num_threads: options.NumThreads = None,
    glob: options.Glob = "**/*",
    limit: options.Limit = -1,
    seed: options.SamplingSeed = -1,
) -> None:
    """Cut clips out of all audio files in a folder.

    The clips are cut at random places. The output folder gets the same subfolders as the input
    folder. Files that fail are listed at the end.
    """
    _check_at_least_1(num_clips_per_file=num_clips_per_file, duration_ms=duration_ms)
    from riffusion.audio import convert, read_audio
    from riffusion.audio.sampling import cut_clip, sample_starts_ms

    extension = checked_extension(extension)
    items = list_batch(Path(audio_dir), Path(output_dir), glob, limit)
    check_output_dir(Path(output_dir))

    def sample(item: BatchItem) -> None:
        segment = read_audio(item.path)
        rng = _rng(seed, item.name)
        starts = sample_starts_ms(segment, duration_ms, num_clips_per_file, rng)
        if mono:
            segment = convert(segment, channels=1)
        for i, start_ms in enumerate(starts):
            ending = f"_{i}_start_{start_ms}_ms_dur_{duration_ms}_ms.{extension}"
            path = item.make_output_path(Path(output_dir), ending)
            write_segment(cut_clip(segment, start_ms, duration_ms), path)

    run_batch("files", items, sample, num_threads)
    print(f"Wrote {len(items) * num_clips_per_file} clips to {output_dir}")


def _rng(seed: int, name: str = "") -> random.Random:
    """A generator per file, so that the order in which threads finish does not matter."""
    return random.Random(f"{seed}/{name}") if seed >= 0 else random.Random()


def _check_at_least_1(**options: int) -> None:
    for name, value in options.items():
        if value < 1:
            raise InputError(f"{value} must be at least 1", field=name)
