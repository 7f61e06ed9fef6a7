"""`riffusion stems` and `riffusion remix`: take a recording apart, and put it together again."""

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from riffusion.cli import options
from riffusion.cli.clip_maker import ClipMaker
from riffusion.cli.edits import EditSeed, Song, edit_request, print_seed
from riffusion.cli.option_groups import (
    AdapterOptions,
    CheckpointOptions,
    EditOptions,
    expand_option_groups,
)
from riffusion.cli.outputs import check_audio_output, check_output_dir, checked_extension
from riffusion.cli.progress import progress_bar
from riffusion.errors import InputError

if TYPE_CHECKING:
    from riffusion.audio import Recording
    from riffusion.datatypes import InferenceInput
    from riffusion.editing.splicing import Part
    from riffusion.editing.stems import Separator

_GAIN = re.compile(r"(?P<name>[^=]+)=(?P<db>[+-]?(\d+\.?\d*|\.\d+)) *(dB)?", re.IGNORECASE)


SeparatorName = Annotated[
    str,
    typer.Option(
        "--separator",
        help="What takes the recording apart: `spectral`, which needs no weights, or `demucs` for "
        "drums, bass, vocals and other, whose weights (335 MB) are downloaded at the first use, or "
        "read from the file that RIFFUSION_DEMUCS names.",
    ),
]


def stems(
    song: Song,
    *,
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help="Folder for the stems; created if it does not exist."),
    ],
    extension: Annotated[
        str, typer.Option(help="Format of the stems: wav, flac, mp3, ogg or m4a.")
    ] = "wav",
    separator_name: SeparatorName = "spectral",
    device: options.Device = None,
) -> None:
    """Take a recording apart into stems.

    The stems are drums (all percussive sounds), bass (low sustained sounds), harmonic (all other
    sustained sounds, such as chords, melodies and voices) and residual (neither, such as noise and
    reverberation). They have the recording's length, sample rate and bits. As wav or flac, they add
    up to the recording bit for bit.
    """
    suffix = checked_extension(extension)
    separator = _separator(separator_name, device)
    from riffusion.audio import Recording
    from riffusion.editing.stems import write_stems

    check_output_dir(output)
    paths = {name: output / f"{name}.{suffix}" for name in separator.names}
    with Recording.open(song) as recording:
        started = time.perf_counter()
        with progress_bar("stems") as move:
            write_stems(recording, separator, paths, move)
        _print_speed("stems", recording.duration_s, time.perf_counter() - started)
        for path in paths.values():
            print(f"Wrote {path} ({recording.duration_s:.2f} seconds)")


@expand_option_groups
def remix(
    song: Song,
    *,
    output: options.AudioOutput,
    gain: Annotated[
        list[str] | None,
        typer.Option(
            help="Gain of a stem in dB, such as drums=+6dB or bass=-3; may be given several times. "
            "The stems are drums, bass, harmonic and residual; with demucs, they are drums, bass, "
            "vocals and other.",
            show_default=False,
        ),
    ] = None,
    mute: Annotated[
        list[str] | None,
        typer.Option(
            help="Stem to leave out; may be given several times.",
            show_default=False,
        ),
    ] = None,
    restyle: Annotated[
        list[str] | None,
        typer.Option(
            help="Another sound for a stem, such as harmonic=choir; may be given several times. "
            "The options of `riffusion restyle` apply.",
            show_default=False,
        ),
    ] = None,
    separator_name: SeparatorName = "spectral",
    seed: EditSeed = None,
    diffusion: EditOptions,
    model: CheckpointOptions,
    adapters: AdapterOptions,
) -> None:
    """Change the loudness or the sound of a recording's stems.

    The stems are those of `riffusion stems`; the ones that aren't named stay as they are. The
    output has the recording's length, sample rate and bits.
    """
    separator = _separator(separator_name, model.device)
    prompts = _prompts(restyle or [], separator)
    gains = _gains(gain or [], mute or [], separator, can_be_empty=bool(prompts))
    in_vain = next((name for name in prompts if gains.get(name) == 0), None)
    if in_vain is not None:
        raise InputError(f"{in_vain!r} is muted, too; leave out one of the two", field="restyle")
    if not prompts:
        _check_nothing_is_drawn(seed, diffusion, adapters)
    from riffusion.audio import Recording
    from riffusion.edit_fields import DEFAULT_DENOISING
    from riffusion.editing.stems import write_remix

    settings = diffusion.edit_fields(DEFAULT_DENOISING["restyle"])
    further = diffusion.request_fields() | adapters.request_fields(model)
    requests = {
        name: edit_request(prompt, seed, settings, further) for name, prompt in prompts.items()
    }
    check_audio_output(output)
    with Recording.open(song) as recording:
        started = time.perf_counter()
        if requests:
            for inputs in requests.values():
                print_seed(inputs)
            load = partial(ClipMaker, model, adapters)
            _restyle(recording, separator, requests, gains, output, load)
        else:
            with progress_bar("remix") as move:
                write_remix(recording, separator, gains, output, move)
        _print_speed("remix", recording.duration_s, time.perf_counter() - started)
        print(f"Wrote {output} ({recording.duration_s:.2f} seconds)")


def _restyle(
    recording: "Recording",
    separator: "Separator",
    requests: "Mapping[str, InferenceInput]",
    gains: dict[str, float],
    output: Path,
    load: "Callable[[], ClipMaker]",
) -> None:
    """Write a remix with restyled stems."""
    from riffusion.editing.restyled_stems import write_restyled_remix
    from riffusion.editing.restyling import restyle

    generator = load().generator

    def restyled(name: str, stem: "Recording") -> "list[Part]":
        with progress_bar(name) as move:
            return restyle(stem, generator, requests[name], on_progress=move)

    restyles = {name: partial(restyled, name) for name in requests}
    write_restyled_remix(recording, separator, restyles, gains, output)


def _check_nothing_is_drawn(seed: int | None, *groups: EditOptions | AdapterOptions) -> None:
    """Check that no option of a drawing is given, where nothing is drawn.

    Raises:
        InputError: one is.
    """
    given = {"seed": seed} | {
        field.name: getattr(group, field.name)
        for group in groups
        for field in fields(group)
        if getattr(group, field.name) != field.default
    }
    for name, value in given.items():
        if value is not None:
            raise InputError(
                f"{value} has no effect without --restyle, as no stem is drawn; leave it out",
                field=name,
            )


def _separator(name: str, device: str | None) -> "Separator":
    """The separator of a name; a network is loaded when it is first used.

    Raises:
        InputError: there is no such separator.
    """
    if name == "spectral":
        from riffusion.editing.separation import SpectralSeparator

        return SpectralSeparator()
    if name == "demucs":
        from riffusion.editing.demucs import DemucsSeparator

        return DemucsSeparator(device=device)
    raise InputError(f"{name!r} must be spectral or demucs", field="separator_name")


def _prompts(texts: list[str], separator: "Separator") -> dict[str, str]:
    """Prompts by stem.

    Raises:
        InputError: an unknown stem, one that is named twice, or no text.
    """
    from riffusion.diffusion.prompt_weights import parse_prompt_weights
    from riffusion.editing.stems import check_names

    prompts: dict[str, str] = {}
    for text in texts:
        name, _, prompt = text.partition("=")
        if not prompt.strip():
            raise InputError(
                f"{text!r} must be a stem and a text, such as harmonic=choir", field="restyle"
            )
        check_names([name], separator, field="restyle")
        if name in prompts:
            raise InputError(f"{name!r} is named twice; name each stem once", field="restyle")
        try:
            parse_prompt_weights(prompt)
        except InputError as error:
            raise InputError(str(error), field="restyle") from None
        prompts[name] = prompt
    return prompts


def _gains(
    gain: list[str], mute: list[str], separator: "Separator", *, can_be_empty: bool
) -> dict[str, float]:
    """Factors by stem.

    Raises:
        InputError: an unknown stem, one that is named twice, no stem at all, or a gain that isn't a
            number of dB in range.
    """
    from riffusion.edit_fields import MAX_GAIN_DB
    from riffusion.editing.stems import check_names

    gains: dict[str, float] = {}
    for option, texts in (("gain", gain), ("mute", mute)):
        for text in texts:
            name, factor = text, 0.0
            if option == "gain":
                match = _GAIN.fullmatch(text)
                if match is None:
                    raise InputError(
                        f"{text!r} must be a stem and its gain in dB, such as drums=+6dB",
                        field=option,
                    )
                name, gain_db = match["name"], float(match["db"])
                if abs(gain_db) > MAX_GAIN_DB:
                    raise InputError(
                        f"{text!r} must be from -{MAX_GAIN_DB:g} to {MAX_GAIN_DB:g} dB; --mute "
                        "leaves a stem out",
                        field=option,
                    )
                factor = 10 ** (gain_db / 20)
            check_names([name], separator, field=option)
            if name in gains:
                raise InputError(f"{name!r} is named twice; name each stem once", field=option)
            gains[name] = factor
    if not gains and not can_be_empty:
        raise InputError(
            "name a stem to change, such as drums=+6dB, or --mute or --restyle one", field="gain"
        )
    return gains


def _print_speed(label: str, duration_s: float, seconds: float) -> None:
    print(
        f"{label:<12}{duration_s:.2f} s in {seconds:.2f} s: {duration_s / seconds:.1f}× real time"
    )
