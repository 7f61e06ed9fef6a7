"""`riffusion seed-image`: loops to start from."""

from pathlib import Path
from typing import Annotated

import typer

from riffusion.cli.outputs import check_image_output, save_image
from riffusion.errors import InputError

DEFAULT_STYLE = "og_beat"


def seed_image(
    *,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="Image to write: .png, .jpg or .webp.", show_default=False
        ),
    ] = None,
    style: Annotated[
        str | None,
        typer.Option(help=f"Loop to play, see --list; default {DEFAULT_STYLE}."),
    ] = None,
    audio: Annotated[
        Path | None, typer.Option(help="Own audio, in place of a style.", show_default=False)
    ] = None,
    tempo: Annotated[
        float | None,
        typer.Option(help="Beats per minute; default the style's, or estimated from the audio."),
    ] = None,
    beats: Annotated[
        int | None,
        typer.Option(help="Length in beats; default the style's, or what fits into 5.12 s."),
    ] = None,
    key: Annotated[
        str | None, typer.Option(help="Such as 'A minor' or 'F# major'; styles only.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Another seed, another player; styles only.")
    ] = None,
    width: Annotated[
        int | None,
        typer.Option(help="Stretch to so many columns; audio only.", show_default=False),
    ] = None,
    list_all: Annotated[
        bool, typer.Option("--list", help="List styles, seed images and masks.")
    ] = False,
) -> None:
    """Draw a seamless loop to start from.

    One of ours, or cut out of own audio; for `generate --seed-image` and for requests.
    """
    if list_all:
        _print_list()
        return
    if output is None:
        raise InputError("is missing; name an image to write, as in -o seed.png", "output")
    if audio is None:
        _reject("width", width, "a style")
    else:
        for name, value in (("style", style), ("key", key), ("seed", seed)):
            _reject(name, value, "--audio")
    check_image_output(output)
    if audio is None:
        from riffusion.loops.seed_images import make_seed_image

        image, _ = make_seed_image(
            DEFAULT_STYLE if style is None else style,
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
        raise InputError(f"{value} does not go with {other}; leave it out", field=name)


def _print_list() -> None:
    from riffusion.generation.seed_library import SeedLibrary
    from riffusion.loops.arrangements import ARRANGEMENTS

    print("styles")
    for name, style in ARRANGEMENTS.items():
        print(f"  {name:<12} {style.beats} beats at {style.tempo_bpm:g} bpm, {style.key}")
    library = SeedLibrary.default()
    print("seed images", *library.seed_image_ids, sep="\n  ")
    print("masks", *library.mask_image_ids, sep="\n  ")
