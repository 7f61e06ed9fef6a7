"""Idioms of plucked strings."""

from corpora.general_midi.melodies import melody, riff
from corpora.general_midi.notes import Note
from corpora.general_midi.setting import Setting, between
from corpora.general_midi.sound import Sound
from corpora.general_midi.textures import arpeggio, bass_line, strummed


def guitar(sound: Sound, s: Setting) -> list[Note]:
    """Strummed chords, or picked arpeggios over a bass line."""
    if s.chance(0.5):
        rhythm = (
            s.pick("X-------", "X---X---"),
            s.pick("X-x-.xx-", "X--xX-x-", "X-xx.xx-"),
            s.pick("XxXxXxXx", "X.xxXxxx"),
        )[s.density]
        return strummed(s, 40, 70, rhythm, 5)
    step = (1.0, 0.5, 0.25)[s.density]
    picked = arpeggio(s, 50, 74, step, s.pick("up", "updown", "alberti"), 4, ring=3.0)
    return picked + bass_line(s, 40, 52, s.pick("roots", "fifths"))


def distorted_guitar(sound: Sound, s: Setting) -> list[Note]:
    """Power chords, riffs on the low strings, sometimes a solo."""
    manner = s.pick("power", "power", "riff", "solo")
    if manner == "solo" and s.register > 0.4:
        return melody(s, 55, sound.high, legato=1.0, pentatonic=True)
    if manner == "riff":
        line = riff(s, 38, 58, 2)
        return line + [
            Note(n.start_beats, n.duration_beats, n.pitch + 7, n.velocity)
            for n in line
            if n.duration_beats > 0.6
        ]
    rhythm = (s.pick("X-------", "X-----x-"), s.pick("X-x-x-x-", "X--x--x-"), "Xxxxxxxx")[s.density]
    notes = []
    for i in range(s.beats * 2):
        sign = rhythm[i % len(rhythm)]
        if sign not in "Xx":
            continue
        held = 1
        while i + held < s.beats * 2 and rhythm[(i + held) % len(rhythm)] == "-":
            held += 1
        root = between(s.pitch(s.chord_at(i / 2).root), 38, 52)
        for interval in (0, 7, 12):
            notes.append(Note(i / 2, held * 0.46, root + interval, s.loudness(8 * (sign == "X"))))
    return notes


def slap_bass(sound: Sound, s: Setting) -> list[Note]:
    """A syncopated line with popped octaves."""
    line = riff(s, sound.low, sound.low + 19, 4 if s.density else 2)
    if s.chance(0.4):
        line = bass_line(s, sound.low, sound.low + 14, s.pick("syncopated", "octaves", "pulse"))
    return [
        Note(
            n.start_beats,
            min(n.duration_beats, 0.5),
            n.pitch + 12 * (n.start_beats % 1 > 0.4 and s.chance(0.4)),
            min(127, n.velocity + 8),
        )
        for n in line
    ]


def sitar(sound: Sound, s: Setting) -> list[Note]:
    """A melody over a drone."""
    tonic = between(s.pitch(0), 48, 60)
    drone = [
        Note(time, 2.0, tonic + 7 * (i % 2), s.loudness(-12))
        for i, time in enumerate(range(0, s.beats, 2))
    ]
    return drone + melody(s, 58, sound.high, legato=1.1, ornaments=0.5)
