"""`riffusion dataset synthesize`: the corpus that the embedded checkpoint is trained on."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from riffusion.cli.progress import StageBars
from riffusion.cli.ray_option import RayAddress, chosen_cluster
from riffusion.errors import InputError
from riffusion.io.bundle import bundle_roots


def synthesize(
    directory: Annotated[
        Path, typer.Argument(metavar="DIR", help="Data-set folder to create, or to continue.")
    ],
    clips_per_sound: Annotated[
        int, typer.Option(help="Number of clips per sound, those for validation included.")
    ] = 200,
    sounds: Annotated[
        str | None,
        typer.Option(
            help="Sounds to use, separated by commas, as in 'piano,flute'; default: all except "
            "those kept back as examples of new sounds. An unknown name is answered with the full "
            "list.",
            show_default=False,
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="The same seed makes the same corpus.")] = 0,
    validation_share: Annotated[
        float, typer.Option(help="Fraction of the clips for validation, 0 to 0.9.")
    ] = 0.1,
    scores: Annotated[
        bool,
        typer.Option(
            "--scores/--no-scores",
            help="Also use music21's public-domain scores, not patterns alone. They are parsed "
            "once, which takes a minute.",
        ),
    ] = True,
    soundfont: Annotated[
        Path | None,
        typer.Option(
            help="General MIDI soundfont, .sf2 or .sf3; default: the one installed on the system.",
            show_default=False,
        ),
    ] = None,
    processes: Annotated[
        int | None,
        typer.Option(
            help="Number of clips to make in parallel; default: one per CPU core.",
            show_default=False,
        ),
    ] = None,
    ray: RayAddress = None,
) -> None:
    """Make a data set of captioned loops, played by FluidSynth.

    Instruments, drum kits and mixtures of them play scores and patterns; each loop lasts 5.12 s.
    You can interrupt it: the same command resumes where it stopped. It needs a clone of the
    repository, because the installed package does not contain the scores and patterns.
    """
    root = _make_corpora_importable()
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
    with chosen_cluster(ray, processes, [root]) as cluster, StageBars() as bars:
        counts = synthesize_corpus(directory, options, processes, bars.move, cluster)
    print(
        f"Wrote {directory} ({counts['train']} clips for training, "
        f"{counts['validation']} for validation)"
    )


def _make_corpora_importable() -> Path:
    """Put the repository's root on the import path: the installed package has no `corpora/`.

    Returns:
        The root.

    Raises:
        InputError: there is no clone of the repository.
    """
    for root in bundle_roots():
        if (root / "corpora" / "general_midi").is_dir():
            if str(root) not in sys.path:
                sys.path.insert(0, str(root))
            return root.resolve()
    raise InputError(
        "the scores and patterns of the corpus are in the folder corpora/ of the repository, which "
        "the installed package does not contain; clone the repository, install it with "
        "`make setup`, and run this command there"
    )
