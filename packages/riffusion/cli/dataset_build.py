"""`riffusion dataset build`: a folder of audio becomes a data set."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from riffusion.cli import options
from riffusion.cli.batch import BatchDefectError, BatchError, is_defect_of_ours, list_batch
from riffusion.cli.progress import progress_bar


class Preset(StrEnum):
    """Sizes of images."""

    RIFFUSION = "riffusion"
    AUDIO_DIFFUSION = "audio-diffusion"


class CaptionFrom(StrEnum):
    """Where captions come from."""

    AUTO = "auto"
    METADATA = "metadata"
    TAGS = "tags"
    NAMES = "names"


def build(
    audio_dir: Annotated[
        Path, typer.Argument(metavar="AUDIO_DIR", help="Folder with recordings, in any format.")
    ],
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help="Data-set folder to make, or to go on with."),
    ],
    preset: Annotated[
        Preset, typer.Option(help="512×512 at 44.1 kHz, or 256×256 at 22.05 kHz.")
    ] = Preset.RIFFUSION,
    duration_s: Annotated[
        float | None,
        typer.Option(help="Length of a slice; default what --width says.", show_default=False),
    ] = None,
    beats: Annotated[
        int | None,
        typer.Option(
            help="Cut on beats, so many a slice; stretched to --width.", show_default=False
        ),
    ] = None,
    width: Annotated[
        int | None, typer.Option(help="Columns; default the preset's.", show_default=False)
    ] = None,
    height: Annotated[
        int | None, typer.Option(help="Mel bands; default the preset's.", show_default=False)
    ] = None,
    sample_rate: Annotated[
        int | None, typer.Option(help="Hz; default the preset's.", show_default=False)
    ] = None,
    step_size_ms: Annotated[
        int | None,
        typer.Option("--step-size-ms", "--hop-ms", help="Time of one column.", show_default=False),
    ] = None,
    window_duration_ms: options.WindowDurationMsOrNone = None,
    padded_duration_ms: options.PaddedDurationMsOrNone = None,
    min_frequency: options.MinFrequencyOrNone = None,
    max_frequency: options.MaxFrequencyOrNone = None,
    power_for_image: options.PowerForImageOrNone = None,
    stereo: options.Stereo = False,
    captions: Annotated[
        Path | None,
        typer.Option(
            help=".jsonl or .csv with file_name and text; default metadata.jsonl and metadata.csv "
            "of the folder.",
            show_default=False,
        ),
    ] = None,
    caption_from: Annotated[
        CaptionFrom, typer.Option(help="auto takes the first of the others that there is.")
    ] = CaptionFrom.AUTO,
    overlap: Annotated[
        float, typer.Option(help="Share of a slice that the next one repeats, 0 to 0.95.")
    ] = 0.0,
    keep_rest: Annotated[
        bool, typer.Option("--keep-rest", help="Keep what is left at the end, with silence.")
    ] = False,
    silence_db: Annotated[
        float, typer.Option(help="Leave out slices below this level (RMS, full scale is 0).")
    ] = -60.0,
    max_clipping: Annotated[
        float, typer.Option(help="Leave out slices with a larger share of clipped samples.")
    ] = 0.01,
    validation_share: Annotated[
        float, typer.Option(help="Share of recordings for validation, 0 to 0.9.")
    ] = 0.1,
    processes: Annotated[
        int | None,
        typer.Option(help="Recordings worked on at once; default one a CPU.", show_default=False),
    ] = None,
    limit: Annotated[int, typer.Option(help="Only so many recordings, in order; -1 for all.")] = -1,
    seed: Annotated[int, typer.Option(help="Another seed, other recordings for validation.")] = 0,
) -> None:
    """Make a data set of captioned spectrogram images out of a folder of audio.

    Interrupt it when you like: the same command goes on where it stopped. Recordings that can't be
    used are listed at the end.
    """
    from riffusion.datasets.build.builder import build_dataset
    from riffusion.datasets.build.formats import image_format
    from riffusion.datasets.build.options import BuildOptions, SliceOptions
    from riffusion.datasets.build.report import BuildReport
    from riffusion.datasets.build.sources import AudioFile

    image = image_format(
        preset.value,
        width=width,
        duration_s=duration_s,
        beats=beats,
        num_frequencies=height,
        sample_rate=sample_rate,
        step_size_ms=step_size_ms,
        window_duration_ms=window_duration_ms,
        padded_duration_ms=padded_duration_ms,
        min_frequency=min_frequency,
        max_frequency=max_frequency,
        power_for_image=power_for_image,
        stereo=stereo,
    )
    build_options = BuildOptions(
        SliceOptions(image, beats, overlap, keep_rest, silence_db, max_clipping),
        caption_from.value,
        captions,
        validation_share,
        limit,
        seed,
    )
    items = list_batch(audio_dir, output, "**/*", -1)
    files = [AudioFile(item.path, item.name) for item in items]
    with progress_bar("recordings") as move:
        report: BuildReport = build_dataset(
            audio_dir, files, output, build_options, processes, move
        )
    if report.num_images:
        parts = [
            f"{report.num_images[split]} images from {report.num_files[split]} recordings for "
            f"{name}"
            for split, name in (("train", "training"), ("validation", "validation"))
        ]
        print(f"Wrote {output} ({', '.join(parts)})")
    if report.left_out:
        reasons = (f"{count} {reason}" for reason, count in sorted(report.left_out.items()))
        print(f"Left out: {', '.join(reasons)}")
    if report.failures:
        is_defect = any(is_defect_of_ours(failure) for failure in report.failures.values())
        raise (BatchDefectError if is_defect else BatchError)(report.failures, len(files))
