"""`riffusion dataset synthesize`: the corpus behind the embedded checkpoint."""

import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from riffusion.cli.progress import progress_bar
from riffusion.errors import InputError
from riffusion.io.bundle import bundle_roots


def synthesize(
    directory: Annotated[
        Path, typer.Argument(metavar="DIR", help="Data-set folder to make, or to go on with.")
    ],
    clips_per_sound: Annotated[
        int, typer.Option(help="Clips of each sound, those for validation included.")
    ] = 200,
    sounds: Annotated[
        str | None,
        typer.Option(
            help="Only some, as in 'piano,flute'; default all but those held out for other uses. "
            "An unknown name is answered with the list.",
            show_default=False,
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Same seed, same corpus.")] = 0,
    validation_share: Annotated[
        float, typer.Option(help="Share of clips for validation, 0 to 0.9.")
    ] = 0.1,
    scores: Annotated[
        bool,
        typer.Option(
            "--scores/--no-scores",
            help="Use music21's public-domain scores besides patterns; they are parsed once, "
            "which takes a minute.",
        ),
    ] = True,
    soundfont: Annotated[
        Path | None,
        typer.Option(
            help="General MIDI .sf2 or .sf3; default the one the system has.", show_default=False
        ),
    ] = None,
    processes: Annotated[
        int | None,
        typer.Option(help="Clips made at once; default one a CPU.", show_default=False),
    ] = None,
) -> None:
    """Make a data set of captioned loops, played by FluidSynth.

    Scores and patterns are played by instruments, drum kits and mixtures of them; each loop lasts
    5.12 s. Interrupt it when you like: the same command goes on where it stopped.
    """
    _make_corpora_importable()
    from corpora.general_midi.options import CorpusOptions
    from corpora.general_midi.synthesize import synthesize_corpus

    options = CorpusOptions(
        clips_per_sound=clips_per_sound,
        seed=seed,
        sounds=None if sounds is None else [name.strip() for name in sounds.split(",")],
        validation_share=validation_share,
        with_scores=scores,
        soundfont=soundfont,
    )
    with _Bars() as bars:
        counts = synthesize_corpus(directory, options, processes, bars.move)
    print(
        f"Wrote {directory} ({counts['train']} clips for training, "
        f"{counts['validation']} for validation)"
    )


def _make_corpora_importable() -> None:
    """Put the checkout's root on the import path: `corpora/` is not part of the installed package.

    Raises:
        InputError: this isn't a checkout.
    """
    for root in bundle_roots():
        if (root / "corpora" / "general_midi").is_dir():
            if str(root) not in sys.path:
                sys.path.insert(0, str(root))
            return
    raise InputError(
        "the scores and patterns of the corpus are in the repository's corpora/ folder, which the "
        "installed package does not contain; clone the repository, install it with `make setup`, "
        "and run this command there"
    )


class _Bars(ExitStack):
    """A progress bar for each kind of work, one after the other."""

    _label = ""

    def move(self, label: str, done: int, total: int) -> None:
        if label != self._label:
            self.close()
            self._label = label
            self._move = self.enter_context(progress_bar(label))
        self._move(done, total)
