"""`riffusion stems` and `riffusion remix`: take a recording apart, and put it together again."""

import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from riffusion.cli import options
from riffusion.cli.edits import Song
from riffusion.cli.outputs import check_audio_output, check_output_dir, checked_extension
from riffusion.cli.progress import progress_bar
from riffusion.errors import InputError

if TYPE_CHECKING:
    from riffusion.editing.stems import Separator

_GAIN = re.compile(r"(?P<name>[^=]+)=(?P<db>[+-]?(\d+\.?\d*|\.\d+)) *(dB)?", re.IGNORECASE)


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
) -> None:
    """Take a recording apart into stems.

    The stems are drums (all percussive sounds), bass (low sustained sounds), harmonic (all other
    sustained sounds, such as chords, melodies and voices) and residual (neither, such as noise and
    reverberation). They have the recording's length, sample rate and bits. As wav or flac, they add
    up to the recording bit for bit.
    """
    suffix = checked_extension(extension)
    separator = _separator()
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


def remix(
    song: Song,
    *,
    output: options.AudioOutput,
    gain: Annotated[
        list[str] | None,
        typer.Option(
            help="Gain of a stem in dB, such as drums=+6dB or bass=-3; may be given several times. "
            "The stems are drums, bass, harmonic and residual.",
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
) -> None:
    """Change the loudness of a recording's stems.

    The stems are those of `riffusion stems`; the ones that aren't named stay as they are. The
    output has the recording's length, sample rate and bits.
    """
    separator = _separator()
    gains = _gains(gain or [], mute or [], separator)
    from riffusion.audio import Recording
    from riffusion.editing.stems import write_remix

    check_audio_output(output)
    with Recording.open(song) as recording:
        started = time.perf_counter()
        with progress_bar("remix") as move:
            write_remix(recording, separator, gains, output, move)
        _print_speed("remix", recording.duration_s, time.perf_counter() - started)
        print(f"Wrote {output} ({recording.duration_s:.2f} seconds)")


def _separator() -> "Separator":
    from riffusion.editing.separation import SpectralSeparator

    return SpectralSeparator()


def _gains(gain: list[str], mute: list[str], separator: "Separator") -> dict[str, float]:
    """Factors by stem.

    Raises:
        InputError: an unknown stem, one that is named twice, no stem at all, or a gain that isn't a
            number of dB in range.
    """
    from riffusion.editing.stems import MAX_GAIN_DB, check_names

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
    if not gains:
        raise InputError("name a stem to change, such as drums=+6dB, or --mute one", field="gain")
    return gains


def _print_speed(label: str, duration_s: float, seconds: float) -> None:
    print(
        f"{label:<12}{duration_s:.2f} s in {seconds:.2f} s: {duration_s / seconds:.1f}× real time"
    )
