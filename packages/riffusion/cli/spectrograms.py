"""`riffusion audio-to-image`, `image-to-audio`, `print-exif` and `audio-to-images-batch`."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from riffusion.cli import options
from riffusion.cli.folder_batch import BatchItem, list_batch, run_batch
from riffusion.cli.option_groups import (
    SpectrogramOptions,
    SpectrogramOverrides,
    expand_option_groups,
)
from riffusion.cli.outputs import (
    check_audio_output,
    check_image_output,
    check_output_dir,
    save_image,
    write_segment,
)
from riffusion.errors import InputError, MissingExifError, RecordedParamsError
from riffusion.spectrogram.params import ExifTags, SpectrogramParams

logger = logging.getLogger(__name__)


@expand_option_groups
def audio_to_image(
    *,
    audio: Annotated[str, typer.Option(help="Audio file to read.")],
    image: Annotated[str, typer.Option(help="Image file to write: .png, .jpg or .webp.")],
    spectrogram: SpectrogramOptions,
    stereo: options.Stereo = False,
    sample_rate: options.SampleRate = 44100,
    device: options.Device = None,
) -> None:
    """Draw the spectrogram of an audio file.

    The spectrogram parameters are stored in the image's EXIF, so that image-to-audio can turn it
    back into audio.
    """
    params = spectrogram.params(stereo=stereo, sample_rate=sample_rate)
    from riffusion.audio import read_audio
    from riffusion.spectrogram.image_converter import SpectrogramImageConverter

    check_image_output(Path(image))
    segment = read_audio(audio)
    drawn = SpectrogramImageConverter(params, device).spectrogram_image_from_audio(segment)
    save_image(drawn, Path(image))
    print(f"Wrote {image} ({drawn.width}×{drawn.height} pixels)")


@expand_option_groups
def image_to_audio(
    *,
    image: Annotated[str, typer.Option(help="Image file to read.")],
    audio: Annotated[
        str, typer.Option(help="Audio file to write: .mp3, .wav, .flac, .ogg or .m4a.")
    ],
    device: options.Device = None,
    stereo: Annotated[
        bool | None,
        typer.Option("--stereo/--mono", help="Two channels or one.", show_default=False),
    ] = None,
    sample_rate: Annotated[
        int | None, typer.Option(help="Sample rate of the audio in Hz.", show_default=False)
    ] = None,
    step_size_ms: Annotated[
        int | None,
        typer.Option(help="Milliseconds per frame (column of the image).", show_default=False),
    ] = None,
    overrides: SpectrogramOverrides,
) -> None:
    """Turn a spectrogram image into audio.

    The spectrogram parameters are read from the image's EXIF. For images without them, the options
    from --stereo on set the parameters; those that are not given keep their usual values.
    """
    choices = {
        "stereo": stereo,
        "sample_rate": sample_rate,
        "step_size_ms": step_size_ms,
        **overrides.by_name(),
    }
    from riffusion.io.images import read_image
    from riffusion.spectrogram.image_converter import SpectrogramImageConverter

    check_audio_output(Path(audio))
    drawn = read_image(Path(image))
    params = _image_params(image, drawn.getexif(), choices)
    segment = SpectrogramImageConverter(params, device).audio_from_spectrogram_image(drawn)
    write_segment(segment, Path(audio))
    print(f"Wrote {audio} ({segment.duration_seconds:.2f} seconds)")


def print_exif(*, image: Annotated[str, typer.Option(help="Image file to read.")]) -> None:
    """Print an image's spectrogram parameters."""
    from riffusion.io.images import read_image

    exif = read_image(Path(image)).getexif()
    tags = {tag.name: exif[tag.value] for tag in ExifTags if tag.value in exif}
    if not tags:
        raise MissingExifError(
            f"path={image!r} has no spectrogram parameters in its EXIF; "
            "only the images that Riffusion writes have them"
        )
    for name, value in tags.items():
        print(f"{name:<20} = {value!s:>15}")


@expand_option_groups
def audio_to_images_batch(
    *,
    audio_dir: options.AudioDir,
    output_dir: options.OutputDir,
    image_extension: Annotated[
        str, typer.Option(help="Format of the images: jpg, png or webp.")
    ] = "jpg",
    spectrogram: SpectrogramOptions,
    mono: Annotated[
        bool,
        typer.Option(
            "--mono/--stereo",
            help="One channel, or two: left in the image's green, right in its blue.",
        ),
    ] = False,
    sample_rate: options.SampleRate = 44100,
    device: options.Device = None,
    num_threads: options.NumThreads = None,
    glob: options.Glob = "**/*",
    limit: options.Limit = -1,
) -> None:
    """Draw the spectrograms of a folder's audio files.

    The output folder gets the same subfolders as the input folder. Files that fail are listed at
    the end.
    """
    params = spectrogram.params(stereo=not mono, sample_rate=sample_rate)
    from riffusion.audio import read_audio
    from riffusion.spectrogram.image_converter import SpectrogramImageConverter

    suffix = f".{image_extension.removeprefix('.')}"
    if suffix not in (".jpg", ".jpeg", ".png", ".webp"):
        raise InputError(
            f"{image_extension!r} is unknown; use jpg, png or webp", field="image_extension"
        )
    items = list_batch(Path(audio_dir), Path(output_dir), glob, limit)
    check_output_dir(Path(output_dir))
    converter = SpectrogramImageConverter(params, device)

    def draw(item: BatchItem) -> None:
        drawn = converter.spectrogram_image_from_audio(read_audio(item.path))
        save_image(drawn, item.make_output_path(Path(output_dir), suffix))

    run_batch("images", items, draw, num_threads)
    print(f"Wrote {len(items)} images to {output_dir}")


def _image_params(
    image: str, exif: Mapping[int, Any], choices: Mapping[str, Any]
) -> SpectrogramParams:
    """An image's parameters: those in its EXIF, else `choices` with the usual values for None."""
    chosen = {name: value for name, value in choices.items() if value is not None}
    try:
        params = SpectrogramParams.from_exif(exif)
    except MissingExifError:
        given = "".join(f"{name}={value}, " for name, value in chosen.items())
        logger.warning(
            "path=%r has no spectrogram parameters in its EXIF; using %s",
            image,
            f"{given}and the usual values for the rest" if chosen else "the usual values",
        )
        return SpectrogramParams(**chosen)
    except RecordedParamsError as error:
        raise RecordedParamsError(f"path={image!r}: its EXIF has {error}") from error
    for name, value in chosen.items():
        if getattr(params, name) != value:
            logger.warning(
                "path=%r has %s=%s in its EXIF; %s is ignored",
                image,
                name,
                getattr(params, name),
                value,
            )
    return params
