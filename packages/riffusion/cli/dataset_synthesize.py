"""`riffusion dataset synthesize`: the corpus behind the embedded checkpoint."""

from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from riffusion.cli.progress import progress_bar
from riffusion.training.corpus.sounds import SOUNDS

_MADE = ", ".join(label for label, sound in SOUNDS.items() if not sound.is_held_out)
_HELD_OUT = ", ".join(label for label, sound in SOUNDS.items() if sound.is_held_out)


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
            help=f"Only some, as in 'piano,flute'. There are {_MADE}; and, made only when named, "
            f"{_HELD_OUT}.",
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
    from riffusion.training.corpus.options import CorpusOptions
    from riffusion.training.corpus.synthesize import synthesize_corpus

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


class _Bars(ExitStack):
    """A progress bar for each kind of work, one after the other."""

    _label = ""

    def move(self, label: str, done: int, total: int) -> None:
        if label != self._label:
            self.close()
            self._label = label
            self._move = self.enter_context(progress_bar(label))
        self._move(done, total)
