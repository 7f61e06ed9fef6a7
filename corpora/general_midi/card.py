"""The data-set card: the content of the corpus, its origin and licences."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from corpora.general_midi.options import CorpusOptions
from corpora.general_midi.sound import Sound
from riffusion.datasets.card import PARAMETERS, front_matter

_ROW = "| {label} | {kind} | {synonyms} | {styles} |"


def card_text(
    options: CorpusOptions, sounds: Sequence[Sound], soundfont: Path, counts: Mapping[str, int]
) -> str:
    """The text of `README.md`, with the front matter."""
    rows = "\n".join(
        _ROW.format(
            label=sound.label,
            kind=sound.kind,
            synonyms=", ".join(sound.synonyms),
            styles=", ".join(sound.styles),
        )
        for sound in sounds
    )
    scores = _SCORES if options.with_scores else "None were used.\n"
    return f"""{front_matter("mit")}
# Loops of {len(sounds)} sounds as spectrogram images

{counts.get("train", 0)} loops for training and {counts.get("validation", 0)} for validation, each
of exactly 5.12 s and of whole beats (6, 8, 10 or 12, which is 70.3, 93.75, 117.2 or 140.6 beats a
minute), as grey 512×512 images: one frame every 10 ms, one row per mel band. The right edge
continues at the left edge. {PARAMETERS}

Made by `riffusion {_command(options, soundfont)}`.

## Columns
`text` is one caption, `captions` are all captions and `wordings` the names of their templates.
`label` and `kind` name the sound. `style`, `mode`, `moods`, `tempo`, `tempo_bpm`, `beats` and
`onsets_per_s` describe the notes. `source` is the score, or `patterns`. Validation has other random
numbers, other works and some caption templates of its own (`held_out_…`).

## Sounds
| label | kind | synonyms | styles |
|---|---|---|---|
{rows}

## Origin and licences
**Patterns** (chords, arpeggios, melodies, riffs, bass lines, drum grooves) are composed by
the command's own code, MIT.

**Scores.** {scores}
**Soundfont.** `{soundfont.name}`, played by FluidSynth. {_soundfont_licence(soundfont)}
"""


_SCORES = """Windows of works that come with music21, transposed. The works are in the public
domain: chorales by Johann Sebastian Bach (1685-1750); fiddle tunes of William Bradbury Ryan,
"Ryan's Mammoth Collection", Boston 1883; "Maple Leaf Rag" by Scott Joplin, 1899. Of the encodings,
music21's `corpus/license.txt` says that they are included with the permission of their authors, and
that some files restrict commercial use; the files used here do not. Only a few seconds of a work
are played at a time, and no encoding is distributed. `--no-scores` makes a corpus without them.
"""


def _soundfont_licence(soundfont: Path) -> str:
    if soundfont.name.startswith("MuseScore_General"):
        return (
            "MuseScore General (MIT, parts public domain or CC0): © 2018-2021 S. Christian "
            "Collins; from Fluid (R3) Mono © 2014-2017 Michael Cowgill, and Fluid (R3) © "
            "2000-2002, 2008 Frank Wen; temple blocks © 2002 Ethan Winer; drumline cymbals © 2016 "
            "Michael Schorsch; MuseScore Drumline samples, Splendid Grand piano and VCSL cymbals "
            "public domain or CC0."
        )
    if soundfont.name.startswith("FluidR3"):
        return "Fluid (R3) GM (MIT): © 2000-2002, 2008 Frank Wen."
    return "See its own licence."


def _command(options: CorpusOptions, soundfont: Path) -> str:
    words = [
        "dataset synthesize DIR",
        f"--clips-per-sound {options.clips_per_sound}",
        f"--seed {options.seed}",
        f"--validation-share {options.validation_share:g}",
    ]
    if options.sounds is not None:
        words.append(f"--sounds '{','.join(options.sounds)}'")
    if not options.with_scores:
        words.append("--no-scores")
    if options.soundfont is not None:
        words.append(f"--soundfont {soundfont.name}")
    return " ".join(words)
