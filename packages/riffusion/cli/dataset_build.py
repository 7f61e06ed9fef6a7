"""`riffusion dataset build`: a data set from a folder of audio files."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from riffusion.cli import options
from riffusion.cli.folder_batch import list_batch, raise_failures
from riffusion.cli.option_groups import SpectrogramOverrides, expand_option_groups
from riffusion.cli.progress import progress_bar
from riffusion.cli.ray_option import RayAddress, chosen_cluster


class Preset(StrEnum):
    """Image sizes and sample rates."""

    RIFFUSION = "riffusion"
    AUDIO_DIFFUSION = "audio-diffusion"


class CaptionFrom(StrEnum):
    """Sources of captions."""

    AUTO = "auto"
    METADATA = "metadata"
    SIDECARS = "sidecars"
    TAGS = "tags"
    NAMES = "names"


@expand_option_groups
def build(
    audio_dir: Annotated[
        Path,
        typer.Argument(metavar="AUDIO_DIR", help="Folder with recordings, in any audio format."),
    ],
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help="Data-set folder to create, or to continue."),
    ],
    *,
    preset: Annotated[
        Preset,
        typer.Option(help="riffusion: 512×512 at 44.1 kHz; audio-diffusion: 256×256 at 22.05 kHz."),
    ] = Preset.RIFFUSION,
    duration_s: Annotated[
        float | None,
        typer.Option(
            help="Length of each slice in seconds; default: that of an image of --width columns.",
            show_default=False,
        ),
    ] = None,
    beats: Annotated[
        int | None,
        typer.Option(
            help="Cut on beats, this number per slice; slices are stretched to --width.",
            show_default=False,
        ),
    ] = None,
    width: Annotated[
        int | None,
        typer.Option(
            help="Width of the images (number of frames); default: the preset's.",
            show_default=False,
        ),
    ] = None,
    height: Annotated[
        int | None,
        typer.Option(
            help="Height of the images (number of mel bands); default: the preset's.",
            show_default=False,
        ),
    ] = None,
    sample_rate: Annotated[
        int | None,
        typer.Option(help="Sample rate in Hz; default: the preset's.", show_default=False),
    ] = None,
    step_size_ms: Annotated[
        int | None,
        typer.Option(
            "--step-size-ms",
            "--hop-ms",
            help="Milliseconds per frame (column of the image).",
            show_default=False,
        ),
    ] = None,
    overrides: SpectrogramOverrides,
    stereo: options.Stereo = False,
    captions: Annotated[
        Path | None,
        typer.Option(
            help="Captions as a .jsonl, .csv or .tsv file with file_name and text; default: "
            "metadata.jsonl, metadata.csv and metadata.tsv in the folder.",
            show_default=False,
        ),
    ] = None,
    caption_from: Annotated[
        CaptionFrom,
        typer.Option(
            help="Source of captions: a metadata file, a text file beside each recording (a.txt "
            "or a.caption beside a.wav), the files' tags, or file and folder names; auto uses the "
            "first of these that a recording has."
        ),
    ] = CaptionFrom.AUTO,
    overlap: Annotated[
        float, typer.Option(help="Overlap of neighbouring slices as a fraction, 0 to 0.95.")
    ] = 0.0,
    keep_rest: Annotated[
        bool,
        typer.Option(
            "--keep-rest",
            help="Keep the shorter slice at the end of a recording, filled up with silence.",
        ),
    ] = False,
    silence_db: Annotated[
        float,
        typer.Option(help="Leave out slices quieter than this: RMS level in dB of full scale."),
    ] = -60.0,
    max_clipping: Annotated[
        float, typer.Option(help="Leave out slices with a larger fraction of clipped samples.")
    ] = 0.01,
    validation_share: Annotated[
        float, typer.Option(help="Fraction of the recordings for validation, 0 to 0.9.")
    ] = 0.1,
    processes: Annotated[
        int | None,
        typer.Option(
            help="Number of recordings to process in parallel; default: one per CPU core.",
            show_default=False,
        ),
    ] = None,
    ray: RayAddress = None,
    limit: Annotated[
        int,
        typer.Option(
            help="Maximum number of recordings, in order of their names; -1 for all. Files that "
            "can't be used don't count."
        ),
    ] = -1,
    seed: Annotated[
        int, typer.Option(help="Decides which recordings are used for validation.")
    ] = 0,
) -> None:
    """Make a data set from a folder of audio files.

    It has spectrogram images with captions. You can interrupt it: the same command resumes where it
    stopped. Recordings that can't be used are listed at the end.
    """
    from riffusion.datasets.from_audio.builder import build_dataset
    from riffusion.datasets.from_audio.formats import image_format
    from riffusion.datasets.from_audio.options import BuildOptions, SliceOptions
    from riffusion.datasets.from_audio.report import BuildReport
    from riffusion.datasets.from_audio.sources import AudioFile

    image = image_format(
        preset.value,
        width=width,
        duration_s=duration_s,
        beats=beats,
        num_frequencies=height,
        sample_rate=sample_rate,
        step_size_ms=step_size_ms,
        stereo=stereo,
        **overrides.by_name(),
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
    with chosen_cluster(ray, processes) as cluster, progress_bar("recordings") as move:
        report: BuildReport = build_dataset(
            audio_dir, files, output, build_options, processes, move, cluster
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
    raise_failures(report.failures, len(files))
