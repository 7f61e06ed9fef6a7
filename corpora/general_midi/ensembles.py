"""The mixtures: several instruments in one loop."""

from collections.abc import Callable

from corpora.general_midi import grooves
from corpora.general_midi.idioms import IDIOMS
from corpora.general_midi.melodies import melody
from corpora.general_midi.notes import DRUM_BANK, Note, Part
from corpora.general_midi.setting import Setting
from corpora.general_midi.sounds import SOUNDS
from corpora.general_midi.textures import (
    arpeggio,
    bass_line,
    held_chords,
    struck_chords,
    strummed,
)

Ensemble = Callable[[Setting], tuple[Part, ...]]

(PIANO, HARPSICHORD, NYLON_GUITAR, STEEL_GUITAR, DISTORTED_GUITAR) = (0, 6, 24, 25, 30)
(ELECTRIC_PIANO, UPRIGHT_BASS, FINGER_BASS, SYNTH_BASS, SAW_LEAD) = (4, 32, 33, 38, 81)
(VIOLIN, STRINGS, WARM_PAD, BRUSH_KIT, TR_808, ELECTRONIC_KIT) = (40, 48, 89, 40, 25, 24)


def _part(program: int, notes: list[Note], volume: int = 100, vibrato: int = 0) -> Part:
    return Part(program, tuple(notes), volume=volume, vibrato=vibrato)


def _drums(kit: int, notes: list[Note], volume: int = 100) -> Part:
    return Part(kit, tuple(notes), bank=DRUM_BANK, volume=volume)


def _jazz_trio(s: Setting) -> tuple[Part, ...]:
    rhythm = s.pick("X--x----", ".x..X---", "X...x-..")
    chords = struck_chords(s, 52, 69, rhythm, 4)
    right = melody(s, 64, 86, legato=0.9, rests=0.15) if s.chance(0.75) else []
    return (
        _part(PIANO, chords + right),
        _part(UPRIGHT_BASS, bass_line(s, 28, 50, "walking"), 115),
        _drums(BRUSH_KIT, grooves.jazz(s), 105),
    )


def _rock_band(s: Setting) -> tuple[Part, ...]:
    guitar = IDIOMS["distorted_guitar"](SOUNDS["distorted guitar"], s)
    return (
        _part(DISTORTED_GUITAR, guitar, 85),
        _part(FINGER_BASS, bass_line(s, 28, 45, "pulse" if s.density else "roots"), 110),
        _drums(16, grooves.rock(s), 110),
    )


def _lofi(s: Setting) -> tuple[Part, ...]:
    rhythm = s.pick("X-------", "X--x----", "X-----x-")
    keys = struck_chords(s, 52, 74, rhythm, 4)
    line = melody(s, 69, 86, rests=0.35) if s.chance(0.4) else []
    bass = bass_line(s, 28, 45, s.pick("roots", "syncopated"))
    return (
        _part(ELECTRIC_PIANO, keys + line, 105),
        _part(FINGER_BASS, bass, 100),
        _drums(TR_808, grooves.hip_hop(s), 95),
    )


def _synthwave(s: Setting) -> tuple[Part, ...]:
    lead = arpeggio(s, 57, 86, 0.25, s.pick("up", "updown"), 4, 0.8)
    if s.chance(0.5):
        lead = melody(s, 62, 86, legato=1.0)
    return (
        _part(SYNTH_BASS, bass_line(s, 30, 48, s.pick("pulse", "octaves")), 110),
        _part(SAW_LEAD, lead, 80),
        _part(WARM_PAD, held_chords(s, 52, 72, 3), 60),
        _drums(ELECTRONIC_KIT, grooves.synthwave(s), 110),
    )


def _folk_duo(s: Setting) -> tuple[Part, ...]:
    rhythm = ("X---x---", s.pick("X-x-.xx-", "X--xX-x-"), "X.xxXxxx")[s.density]
    if s.chance(0.6):
        guitar = strummed(s, 40, 67, rhythm, 4)
    else:
        guitar = arpeggio(s, 48, 69, 0.5, s.pick("updown", "alberti"), 4, ring=3.0)
    violin = melody(s, 62, 91, legato=1.0, ornaments=0.25, pentatonic=s.chance(0.4))
    return (_part(VIOLIN, violin, 100, 25), _part(STEEL_GUITAR, guitar, 100))


def _bossa(s: Setting) -> tuple[Part, ...]:
    rhythm = s.pick("X.x..x..x.x..x..", "X..x..x.x..x..x.", "X-.x-.x-.x.x-.x-")
    line = melody(s, 64, 81, rests=0.2) if s.chance(0.3) else []
    return (
        _part(NYLON_GUITAR, struck_chords(s, 48, 71, rhythm, 4) + line, 115),
        _part(UPRIGHT_BASS, bass_line(s, 28, 48, "fifths"), 110),
        _drums(0, grooves.bossa(s), 90),
    )


def _baroque(s: Setting) -> tuple[Part, ...]:
    harpsichord = arpeggio(s, 52, 79, (0.5, 0.25, 0.25)[s.density], s.pick("updown", "alberti"), 4)
    bass = bass_line(s, 36, 55, s.pick("roots", "fifths", "walking"))
    upper = melody(s, 67, 88, legato=0.95, ornaments=0.2)
    strings = held_chords(s, 50, 69, 3) + bass
    return (
        _part(HARPSICHORD, harpsichord + bass, 120),
        _part(STRINGS, strings + (upper if s.chance(0.7) else []), 85),
    )


ENSEMBLES: dict[str, Ensemble] = {
    "jazz_trio": _jazz_trio,
    "rock_band": _rock_band,
    "lofi_hip_hop": _lofi,
    "synthwave": _synthwave,
    "folk_duo": _folk_duo,
    "bossa_nova": _bossa,
    "baroque_ensemble": _baroque,
}
"""Ensembles by their names in the table of sounds."""
