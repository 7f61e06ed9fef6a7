"""Held-out clips of the corpus, which the page of sounds compares with."""

import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from PIL import Image

from corpora.general_midi.rendering import Job, Renderer
from corpora.general_midi.scores import load_scores
from corpora.general_midi.sound import Sound
from corpora.general_midi.synthesizer import Synthesizer, find_soundfont
from riffusion.io.images import read_image

CORPUS_SEED = 0
"""The default of `riffusion dataset synthesize`, and the seed of the checkpoint's corpus."""
INDEX = 0
"""The first held-out clip: every corpus of this seed has it in its split `validation`."""


def real_images(
    sounds: Iterable[Sound], soundfont: Path | None = None
) -> Iterator[tuple[Sound, Image.Image]]:
    """The spectrogram image of a held-out clip for each sound, as the corpus contains it.

    Args:
        sounds: the sounds.
        soundfont: General MIDI soundfont; None finds the one that is installed.

    Raises:
        InputError: a soundfont or music21 is missing.
        RiffusionError: FluidSynth isn't installed.
    """
    renderer = Renderer(Synthesizer(find_soundfont(soundfont)), CORPUS_SEED, load_scores())
    with tempfile.TemporaryDirectory() as folder:
        for sound in sounds:
            path = Path(folder, f"{sound.folder}.png")
            renderer.render([Job(sound.label, "validation", INDEX, path)])
            yield sound, read_image(path)
