"""The table of sounds: instruments, beats and mixtures."""

from corpora.general_midi.instruments import HELD_OUT, INSTRUMENTS
from corpora.general_midi.sound import Sound, beat, mixture
from riffusion.errors import InputError

DRUMS = (
    beat(
        "rock drums",
        "drum kit, rock beat, drums, rock drumming, drum set, acoustic drums",
        (0, 8, 16),
        "rock, pop",
    ),
    beat(
        "hip hop beat",
        "boom bap, rap beat, hip hop drums, trap beat, hip hop",
        (25,),
        "hip hop, trap",
    ),
    beat(
        "techno beat",
        "four on the floor, techno, house beat, electronic drums, dance beat, drum machine",
        (24,),
        "techno, house, dance",
    ),
    beat(
        "jazz drums",
        "brushes, brushed drums, swing drums, jazz drumming, swing beat",
        (40, 32),
        "jazz, swing",
    ),
    beat(
        "latin percussion",
        "congas, bongos, congas and bongos, hand percussion, salsa percussion, afro percussion",
        (0,),
        "latin, salsa, afro cuban",
    ),
)
MIXTURES = (
    mixture(
        "jazz trio", "piano bass and brushes, jazz combo, jazz club trio, cocktail jazz", "jazz"
    ),
    mixture(
        "rock band",
        "guitar bass and drums, rock group, garage band, hard rock",
        "rock",
        "calm, dreamy, sad",
    ),
    mixture(
        "lofi hip hop",
        "lofi, chill hop, lofi beats, study beats, chill beats with electric piano",
        "lofi",
    ),
    mixture(
        "synthwave", "retrowave, outrun, eighties synth music, retro electronic music", "electronic"
    ),
    mixture(
        "folk duo",
        "violin and guitar, fiddle and guitar, guitar and violin, acoustic duo",
        "folk",
    ),
    mixture(
        "bossa nova",
        "bossa, brazilian guitar, brazilian jazz, samba lounge",
        "bossa nova",
    ),
    mixture(
        "baroque ensemble",
        "harpsichord and strings, baroque orchestra, chamber orchestra, baroque chamber music",
        "baroque",
    ),
)
SOUNDS = {sound.label: sound for sound in (*INSTRUMENTS, *DRUMS, *MIXTURES, *HELD_OUT)}
"""Every sound by its label, held-out ones included."""


def find_sounds(labels: list[str] | None = None) -> list[Sound]:
    """The named sounds in the table's order; without names, all that are not held out.

    Raises:
        InputError: a name isn't in the table.
    """
    if labels is None:
        return [sound for sound in SOUNDS.values() if not sound.is_held_out]
    for label in labels:
        if label not in SOUNDS:
            raise InputError(
                f"{label!r} is not a sound; choose from {', '.join(SOUNDS)}", field="sounds"
            )
    return [sound for sound in SOUNDS.values() if sound.label in labels]
