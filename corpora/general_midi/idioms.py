"""How each sound is played. An idiom takes a sound and a setting, and returns notes."""

from collections.abc import Callable

from corpora.general_midi import grooves, plucked_idioms, struck_idioms, sustained_idioms
from corpora.general_midi.melodies import melody
from corpora.general_midi.notes import Note
from corpora.general_midi.setting import Setting
from corpora.general_midi.sound import Sound

Idiom = Callable[[Sound, Setting], list[Note]]


def _solo(
    legato: float, rests: float = 0.0, ornaments: float = 0.0, pentatonic: float = 0.0
) -> Idiom:
    """One voice; see `melody` for the arguments."""

    def play(sound: Sound, s: Setting) -> list[Note]:
        return melody(
            s,
            sound.low,
            sound.high,
            legato=legato,
            rests=rests * (s.density > 0),
            ornaments=ornaments,
            pentatonic=s.chance(pentatonic),
        )

    return play


def _groove(play: Callable[[Setting], list[Note]]) -> Idiom:
    return lambda sound, setting: play(setting)


IDIOMS: dict[str, Idiom] = {
    "piano": struck_idioms.piano,
    "harpsichord": struck_idioms.harpsichord,
    "bells": struck_idioms.bells,
    "marimba": struck_idioms.mallets,
    "vibraphone": struck_idioms.vibraphone,
    "organ": sustained_idioms.organ,
    "accordion": sustained_idioms.accordion,
    "guitar": plucked_idioms.guitar,
    "distorted_guitar": plucked_idioms.distorted_guitar,
    "slap_bass": plucked_idioms.slap_bass,
    "violin": _solo(1.02, ornaments=0.2),
    "strings": sustained_idioms.strings,
    "choir": sustained_idioms.choir,
    "trumpet": sustained_idioms.trumpet,
    "brass": sustained_idioms.brass,
    "saxophone": _solo(0.95, rests=0.15, ornaments=0.15, pentatonic=0.5),
    "flute": _solo(0.95, rests=0.08, ornaments=0.3),
    "clarinet": _solo(0.98, rests=0.05, ornaments=0.15),
    "synth": sustained_idioms.synth,
    "pad": sustained_idioms.pad,
    "sitar": plucked_idioms.sitar,
    "steel_drums": struck_idioms.mallets,
    "bagpipe": sustained_idioms.bagpipe,
    "kalimba": struck_idioms.kalimba,
    "rock_drums": _groove(grooves.rock),
    "hip_hop_beat": _groove(grooves.hip_hop),
    "techno_beat": _groove(grooves.techno),
    "jazz_drums": _groove(grooves.jazz),
    "latin_percussion": _groove(grooves.latin),
}
"""Idioms by their names in the table of sounds; those of mixtures are in `ensembles`."""
