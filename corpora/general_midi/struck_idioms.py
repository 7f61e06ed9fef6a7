"""Idioms of keyboard and mallet instruments, whose notes decay."""

from corpora.general_midi.melodies import melody, ostinato
from corpora.general_midi.notes import Note
from corpora.general_midi.setting import Setting, between
from corpora.general_midi.sound import Sound
from corpora.general_midi.textures import (
    arpeggio,
    bass_line,
    chord_pitches,
    held_chords,
    struck_chords,
)


def piano(sound: Sound, s: Setting) -> list[Note]:
    """Two hands: melody or chords over an accompaniment."""
    left_low = 36 + round(8 * s.register)
    manner = s.pick("melody", "melody", "chords", "arpeggio")
    if s.style == "ragtime":
        left = bass_line(s, left_low, left_low + 12, "roots")
        left += struck_chords(s, 52, 67, ".X" if s.density else "..X.", 3)
        return left + melody(s, 64, 88, legato=0.8)
    if manner == "chords":
        rhythm = (s.pick("X---", "X---x---"), s.pick("X-x-", "X--x--x-"), "Xxxx")[s.density]
        left = bass_line(s, left_low, left_low + 12, s.pick("roots", "fifths"))
        return left + struck_chords(s, 52, 79, rhythm, 4)
    if manner == "arpeggio":
        step = (1.0, 0.5, 0.25)[s.density]
        left = bass_line(s, left_low, left_low + 12, "roots")
        pattern = s.pick("up", "updown", "alberti")
        return left + arpeggio(s, 50, 86, step, pattern, 5, ring=2.0)
    if s.density == 0 or s.style == "jazz":
        left = held_chords(s, left_low + 8, left_low + 26, 3)
    else:
        left = arpeggio(s, left_low + 8, left_low + 28, 0.5, s.pick("alberti", "updown", "up"), 3)
    return left + melody(s, 62, 88, ornaments=0.1)


def harpsichord(sound: Sound, s: Setting) -> list[Note]:
    """Broken chords below, an arpeggio or an ornamented melody above."""
    left = (
        bass_line(s, 41, 58, s.pick("roots", "fifths")),
        arpeggio(s, 45, 64, 0.5, s.pick("alberti", "up"), 3),
        arpeggio(s, 45, 64, 0.5, s.pick("alberti", "updown"), 4),
    )[s.density]
    if s.chance(0.35):
        return left + arpeggio(s, 60, 86, (0.5, 0.25, 0.25)[s.density], "updown", 5)
    return left + melody(s, 62, 86, legato=0.85, ornaments=0.4)


def bells(sound: Sound, s: Setting) -> list[Note]:
    """Slow strokes that overlap, or a peal down the scale."""
    step = (2.0, 1.0, 0.5)[s.density]
    if s.chance(0.4):
        count = int(s.rng.integers(4, 7))
        top = between(s.pitch(0), sound.low + 12, sound.high)
        scale = sorted({s.pitch(d) for d in range(-28, 29)} & set(range(sound.low, top + 1)))
        peal = scale[-count:][::-1]
        return [
            Note(i * step, 2.0, peal[i % len(peal)], s.loudness())
            for i in range(round(s.beats / step))
        ]
    notes = []
    for i in range(round(s.beats / step)):
        time = i * step
        tones = chord_pitches(s, s.chord_at(time), sound.low, sound.high, 3)
        pitch = tones[int(s.rng.integers(len(tones)))]
        notes.append(Note(time, 2.0, pitch, s.loudness(8 * (i == 0))))
        if time % 4 == 0 and s.chance(0.3):
            notes.append(Note(time, 2.0, between(pitch - 12, 48, sound.high), s.loudness()))
    return notes


def mallets(sound: Sound, s: Setting) -> list[Note]:
    """Ostinato, arpeggio or melody, with or without a bass line."""
    step = (0.5, 0.5, 0.25)[s.density]
    low = sound.low + round(8 * s.register)
    manner = s.pick("ostinato", "arpeggio", "melody")
    if manner == "ostinato":
        played = ostinato(s, low + 10, sound.high, step)
    elif manner == "arpeggio":
        played = arpeggio(s, low + 7, sound.high, step, s.pick("up", "updown", "random"), 4, 0.9)
    else:
        played = melody(s, low + 12, sound.high, legato=0.6)
    if s.chance(0.6):
        played += bass_line(s, low, low + 14, s.pick("fifths", "syncopated"))
    return played


def vibraphone(sound: Sound, s: Setting) -> list[Note]:
    """Four mallets: ringing chords, and a melody above."""
    rhythm = ("X---....", "X--x--..", "X-.x-.x-")[s.density]
    chords = struck_chords(s, 53, 72, rhythm, 4)
    line = melody(s, 67, sound.high, legato=1.3, rests=0.2)
    manner = s.pick("both", "both", "line", "chords")
    if manner == "both":
        return chords + line
    return line if manner == "line" else struck_chords(s, 57, 84, rhythm, 4)


def kalimba(sound: Sound, s: Setting) -> list[Note]:
    """Two thumbs: a pentatonic melody or broken chords."""
    step = (1.0, 0.5, 0.25)[s.density]
    if s.chance(0.5):
        return melody(s, sound.low + 5, sound.high, legato=1.2, pentatonic=True)
    return arpeggio(s, sound.low, sound.high, step, s.pick("updown", "random", "alberti"), 4, 1.5)
