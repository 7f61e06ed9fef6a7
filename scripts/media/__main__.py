"""Makes the pictures and clips of the README, the about page and the docs again.

    python -m scripts.media [--checkpoint FOLDER] [--output FOLDER] [--only readme,about]

The parts are `readme`, `about` (web/public/about), `sounds` (docs/sounds.md and its files),
`editing` (the pictures of docs/editing.md) and `steps` (docs/images/steps.png, a benchmark, which
measures seconds and wants a quiet machine). To try it, choose a folder and few steps and sounds:
--output out --steps 2 --sounds violin.
"""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from corpora.general_midi.sounds import find_sounds
from corpora.general_midi.synthesizer import find_soundfont
from riffusion.cli.outputs import check_output_dir
from riffusion.errors import InputError, RiffusionError
from riffusion.generation.generator import ClipGenerator
from scripts.media.about_page import make_about_media
from scripts.media.editing_pictures import make_editing_pictures
from scripts.media.maker import MediaMaker
from scripts.media.readme import make_readme_media
from scripts.media.sounds_page import make_sounds_page
from scripts.media.steps_plot import ROOT, make_steps_plot

PARTS = ("readme", "about", "sounds", "editing", "steps")


def make_media(options: argparse.Namespace) -> None:
    """Check the options, load the checkpoint, and make the chosen parts.

    Raises:
        RiffusionError: an option is invalid, something is missing, or a file can't be written.
    """
    parts = _listed(options.only)
    for part in parts:
        if part not in PARTS:
            raise InputError(f"{part!r} must be one of {', '.join(PARTS)}", field="only")
    if not parts:
        raise InputError(
            f"{options.only!r} names no part; choose from {', '.join(PARTS)}", field="only"
        )
    labels = None if options.sounds is None else _listed(options.sounds)
    find_sounds(labels)
    if "sounds" in parts:
        find_soundfont(options.soundfont)
    check_output_dir(options.output)
    generator = ClipGenerator.load(options.checkpoint)
    print(f"checkpoint  {generator.checkpoint_description}", flush=True)
    maker = MediaMaker(generator, options.output, options.steps)
    makers: dict[str, Callable[[], None]] = {
        "readme": lambda: make_readme_media(maker),
        "about": lambda: make_about_media(maker),
        "sounds": lambda: make_sounds_page(maker, labels, options.soundfont),
        "editing": lambda: make_editing_pictures(maker, options.checkpoint),
        "steps": lambda: make_steps_plot(maker),
    }
    started = time.perf_counter()
    try:
        for part in parts:
            makers[part]()
    finally:
        generator.close()
    total = sum(maker.written.values())
    seconds = time.perf_counter() - started
    print(f"files written: {len(maker.written)}, {total:,} bytes, in {seconds:.0f} s")


def _listed(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Returns the exit code: 0, or 2 after an error of one line."""
    parser = argparse.ArgumentParser(
        prog="python -m scripts.media",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--checkpoint", help="folder, file or hub id; default: the embedded one")
    parser.add_argument(
        "--output",
        type=Path,
        default=ROOT,
        help="folder that stands for the repository's root; default: the root itself",
    )
    parser.add_argument(
        "--only", default=",".join(PARTS), help="parts, separated by commas; default: all"
    )
    parser.add_argument(
        "--sounds", help="sounds of the page, separated by commas; default: all of the corpus"
    )
    parser.add_argument(
        "--soundfont", type=Path, help="General MIDI soundfont; default: the installed one"
    )
    parser.add_argument(
        "--steps", type=int, help="steps of every clip, for a try; default: as each part needs"
    )
    try:
        make_media(parser.parse_args(arguments))
    except RiffusionError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
