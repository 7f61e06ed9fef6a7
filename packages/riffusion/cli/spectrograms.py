"""`riffusion audio-to-image`, `image-to-audio`, `print-exif` and `audio-to-images-batch`."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from riffusion.cli import options
from riffusion.cli.batch import BatchItem, list_batch, run_batch
from riffusion.cli.outputs import (
    check_audio_output,
    check_image_output,
    check_output_dir,
    save_image,
    write_segment,
)
from riffusion.errors import InputError, MissingExifError, SpectrogramParamsError
from riffusion.spectrogram.params import ExifTags, SpectrogramParams

logger = logging.getLogger(__name__)


def audio_to_image(
    *,
    audio: Annotated[str, typer.Option(help="Audio file to read.")],
    image: Annotated[str, typer.Option(help="Image to write: .png, .jpg or .webp.")],
    step_size_ms: options.StepSizeMs = 10,
    num_frequencies: options.NumFrequencies = 512,
    min_frequency: options.MinFrequency = 0,
    max_frequency: options.MaxFrequency = 10000,
    window_duration_ms: options.WindowDurationMs = 100,
    padded_duration_ms: options.PaddedDurationMs = 400,
    power_for_image: options.PowerForImage = 0.25,
    stereo: options.Stereo = False,
    sample_rate: options.SampleRate = 44100,
    device: options.Device = None,
) -> None:
    """Draw the spectrogram of an audio file.

    The image's EXIF says how it sounds, so that image-to-audio can turn it back.
    """
    params = SpectrogramParams(
        sample_rate=sample_rate,
        stereo=stereo,
        step_size_ms=step_size_ms,
        window_duration_ms=window_duration_ms,
        padded_duration_ms=padded_duration_ms,
        num_frequencies=num_frequencies,
        min_frequency=min_frequency,
        max_frequency=max_frequency,
        power_for_image=power_for_image,
    )
    from riffusion.audio import read_audio
    from riffusion.spectrogram.image_converter import SpectrogramImageConverter

    check_image_output(Path(image))
    segment = read_audio(audio)
    drawn = SpectrogramImageConverter(params, device).spectrogram_image_from_audio(segment)
    save_image(drawn, Path(image))
    print(f"Wrote {image} ({drawn.width}×{drawn.height} pixels)")


def image_to_audio(
    *,
    image: Annotated[str, typer.Option(help="Image to read.")],
    audio: Annotated[str, typer.Option(help="Audio to write: .mp3, .wav, .flac, .ogg, .m4a.")],
    device: options.Device = None,
    stereo: Annotated[
        bool | None, typer.Option("--stereo/--mono", help="Channels.", show_default=False)
    ] = None,
    sample_rate: Annotated[
        int | None, typer.Option(help="Rate of the audio in Hz.", show_default=False)
    ] = None,
    step_size_ms: Annotated[
        int | None, typer.Option(help="Time of one column.", show_default=False)
    ] = None,
    window_duration_ms: options.WindowDurationMsOrNone = None,
    padded_duration_ms: options.PaddedDurationMsOrNone = None,
    min_frequency: options.MinFrequencyOrNone = None,
    max_frequency: options.MaxFrequencyOrNone = None,
    power_for_image: options.PowerForImageOrNone = None,
) -> None:
    """Hear a spectrogram drawn.

    Its EXIF says how it sounds. The options from --stereo on are for images without; what they
    don't say is taken from the usual parameters.
    """
    choices = {
        "stereo": stereo,
        "sample_rate": sample_rate,
        "step_size_ms": step_size_ms,
        "window_duration_ms": window_duration_ms,
        "padded_duration_ms": padded_duration_ms,
        "min_frequency": min_frequency,
        "max_frequency": max_frequency,
        "power_for_image": power_for_image,
    }
    from riffusion.io.images import read_image
    from riffusion.spectrogram.image_converter import SpectrogramImageConverter

    check_audio_output(Path(audio))
    drawn = read_image(Path(image))
    params = _params_of(image, drawn.getexif(), choices)
    segment = SpectrogramImageConverter(params, device).audio_from_spectrogram_image(drawn)
    write_segment(segment, Path(audio))
    print(f"Wrote {audio} ({segment.duration_seconds:.2f} seconds)")


def print_exif(*, image: Annotated[str, typer.Option(help="Image to read.")]) -> None:
    """Print an image's spectrogram parameters."""
    from riffusion.io.images import read_image

    exif = read_image(Path(image)).getexif()
    tags = {tag.name: exif[tag.value] for tag in ExifTags if tag.value in exif}
    if not tags:
        raise MissingExifError(
            f"path={image!r} has no spectrogram parameters in its EXIF; "
            "only images of audio-to-image and generate carry them"
        )
    for name, value in tags.items():
        print(f"{name:<20} = {value!s:>15}")


def audio_to_images_batch(
    *,
    audio_dir: options.AudioDir,
    output_dir: options.OutputDir,
    image_extension: Annotated[str, typer.Option(help="jpg, png or webp.")] = "jpg",
    step_size_ms: options.StepSizeMs = 10,
    num_frequencies: options.NumFrequencies = 512,
    min_frequency: options.MinFrequency = 0,
    max_frequency: options.MaxFrequency = 10000,
    window_duration_ms: options.WindowDurationMs = 100,
    padded_duration_ms: options.PaddedDurationMs = 400,
    power_for_image: options.PowerForImage = 0.25,
    mono: Annotated[
        bool, typer.Option("--mono/--stereo", help="One channel, or two in G and B.")
    ] = False,
    sample_rate: options.SampleRate = 44100,
    device: options.Device = None,
    num_threads: options.NumThreads = None,
    glob: options.Glob = "**/*",
    limit: options.Limit = -1,
) -> None:
    """Draw the spectrograms of a folder's audio.

    Images mirror the folder's tree. Files that fail are listed at the end.
    """
    params = SpectrogramParams(
        sample_rate=sample_rate,
        stereo=not mono,
        step_size_ms=step_size_ms,
        window_duration_ms=window_duration_ms,
        padded_duration_ms=padded_duration_ms,
        num_frequencies=num_frequencies,
        min_frequency=min_frequency,
        max_frequency=max_frequency,
        power_for_image=power_for_image,
    )
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
        stem = Path(output_dir) / item.stem
        stem.parent.mkdir(parents=True, exist_ok=True)
        save_image(drawn, stem.with_name(stem.name + suffix))

    run_batch("images", items, draw, num_threads)
    print(f"Wrote {len(items)} images to {output_dir}")


def _params_of(
    image: str, exif: Mapping[int, Any], choices: Mapping[str, Any]
) -> SpectrogramParams:
    """Parameters of an image: its EXIF's, else those that were chosen, over the usual ones."""
    chosen = {name: value for name, value in choices.items() if value is not None}
    try:
        params = SpectrogramParams.from_exif(exif)
    except MissingExifError:
        taken = "".join(f"{name}={value}, " for name, value in chosen.items())
        logger.warning(
            "path=%r has no spectrogram parameters in its EXIF; taking %s",
            image,
            f"{taken}and the usual ones for the rest" if chosen else "the usual ones",
        )
        return SpectrogramParams(**chosen)
    except SpectrogramParamsError as error:
        raise InputError(f"path={image!r}: its EXIF holds {error}") from error
    for name, value in chosen.items():
        if getattr(params, name) != value:
            logger.warning(
                "path=%r says %s=%s in its EXIF; %s is passed over",
                image,
                name,
                getattr(params, name),
                value,
            )
    return params
