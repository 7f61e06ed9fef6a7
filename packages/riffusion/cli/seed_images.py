"""`riffusion seed-image`: draw loops that clips can start from."""

from pathlib import Path
from typing import Annotated

import typer

from riffusion.cli.options import DEFAULT_LOOP
from riffusion.cli.outputs import check_image_output, save_image
from riffusion.errors import InputError


def seed_image(
    *,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="Image file to write: .png, .jpg or .webp.", show_default=False
        ),
    ] = None,
    style: Annotated[
        str | None,
        typer.Option(help=f"Style of the loop, one of --list; default: {DEFAULT_LOOP}."),
    ] = None,
    audio: Annotated[
        Path | None,
        typer.Option(
            help="Cut the loop out of this audio file instead of playing a style.",
            show_default=False,
        ),
    ] = None,
    tempo: Annotated[
        float | None,
        typer.Option(
            help="Beats per minute; default: the style's, or estimated from the audio file."
        ),
    ] = None,
    beats: Annotated[
        int | None,
        typer.Option(help="Length in beats; default: the style's, or as many as fit into 5.12 s."),
    ] = None,
    key: Annotated[
        str | None,
        typer.Option(help="Key, such as 'A minor' or 'F# major'; not with --audio."),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(help="Another seed varies how the style is played; not with --audio."),
    ] = None,
    width: Annotated[
        int | None,
        typer.Option(
            help="Width of the image (number of frames), to which the loop is stretched; only "
            "with --audio.",
            show_default=False,
        ),
    ] = None,
    list_all: Annotated[
        bool, typer.Option("--list", help="List all styles, seed images and masks.")
    ] = False,
) -> None:
    """Draw a seamless loop that clips can start from.

    The loop is played in one of the built-in styles, or cut out of your own audio. Use the image
    with `riffusion generate --seed-image`, or in a request.
    """
    if list_all:
        _print_list()
        return
    if output is None:
        raise InputError("is missing; name the image file to write, as in -o seed.png", "output")
    if audio is None:
        _reject("width", width, "a style")
    else:
        for name, value in (("style", style), ("key", key), ("seed", seed)):
            _reject(name, value, "--audio")
    check_image_output(output)
    if audio is None:
        from riffusion.loops.seed_images import make_seed_image

        image, _ = make_seed_image(
            DEFAULT_LOOP if style is None else style,
            tempo_bpm=tempo,
            beats=beats,
            key=key,
            seed=0 if seed is None else seed,
        )
    else:
        from riffusion.audio import read_audio, waveform_from_segment
        from riffusion.loops.from_recording import seed_image_from_audio

        segment = read_audio(audio)
        image = seed_image_from_audio(
            waveform_from_segment(segment),
            segment.frame_rate,
            beats=beats,
            tempo_bpm=tempo,
            num_frames=width,
        )
    save_image(image, output)
    print(f"Wrote {output} ({image.width}×{image.height} pixels)")


def _reject(name: str, value: object, other: str) -> None:
    if value is not None:
        raise InputError(f"{value} cannot be combined with {other}; leave it out", field=name)


def _print_list() -> None:
    from riffusion.generation.seed_library import SeedLibrary
    from riffusion.loops.arrangements import ARRANGEMENTS

    print("styles")
    for name, style in ARRANGEMENTS.items():
        print(f"  {name:<12} {style.beats} beats at {style.tempo_bpm:g} bpm, {style.key}")
    library = SeedLibrary.default()
    print("seed images", *library.seed_image_ids, sep="\n  ")
    print("masks", *library.mask_image_ids, sep="\n  ")
