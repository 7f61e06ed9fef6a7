"""Idioms of instruments that sustain their notes: bowed, blown, sung, and synthesizers."""

from corpora.general_midi.melodies import in_thirds, melody, riff
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


def organ(sound: Sound, s: Setting) -> list[Note]:
    """Held chords, melody or arpeggio over a pedal, legato."""
    pedal = bass_line(s, 36, 50, "roots")
    chords = held_chords(s, 50, 76, 4)
    if s.density == 0:
        return pedal + chords
    if s.density == 1 or s.chance(0.5):
        return pedal + held_chords(s, 50, 67, 3) + melody(s, 67, 84, legato=1.0)
    return pedal + arpeggio(s, 55, 84, 0.25, s.pick("updown", "alberti"), 4)


def accordion(sound: Sound, s: Setting) -> list[Note]:
    """Bass and chords in turn, or held chords; a melody, sometimes in thirds."""
    if s.density == 0:
        return held_chords(s, 50, 69, 3) + melody(s, 67, sound.high, legato=1.0)
    low = bass_line(s, 41, 53, "fifths")
    off_beat = struck_chords(s, 53, 67, ".x", 3)
    tune = melody(s, 67, sound.high, legato=0.9, ornaments=0.15)
    return low + off_beat + (in_thirds(s, tune) if s.chance(0.5) else tune)


def strings(sound: Sound, s: Setting) -> list[Note]:
    """Held or repeated chords over a bass; sometimes a melody above."""
    low = bass_line(s, 36, 50, "roots")
    if s.density == 2:
        return low + struck_chords(s, 52, 80, s.pick("Xxxx", "X.xx"), 4)
    chords = held_chords(s, 50, 76 + round(10 * s.register), 5)
    if s.chance(0.4):
        line = melody(s, 67, 86, legato=1.0)
        return low + held_chords(s, 50, 67, 3) + line
    return low + chords


def choir(sound: Sound, s: Setting) -> list[Note]:
    """Four voices in one rhythm."""
    if s.density == 2:
        return struck_chords(s, sound.low, sound.high, s.pick("X-x-", "X--x--x-"), 4)
    return held_chords(s, sound.low, sound.high, 4) + (
        bass_line(s, 43, 55, "roots") if s.chance(0.5) else []
    )


def trumpet(sound: Sound, s: Setting) -> list[Note]:
    """Fanfares on chord tones, or a melody."""
    if s.density and s.chance(0.45):
        rhythm = s.pick("X.xxX.x.", "Xxx.X-..", "X-xxX-x-", "X.xxxxX-")
        notes = struck_chords(s, 60, 82, rhythm, 1)
        tones = [chord_pitches(s, s.chord_at(n.start_beats), 60, 80, 4) for n in notes]
        return [
            Note(n.start_beats, n.duration_beats, t[int(s.rng.integers(len(t)))], n.velocity)
            for n, t in zip(notes, tones, strict=True)
        ]
    return melody(s, sound.low, sound.high, legato=0.85, rests=0.1 * (s.density > 0))


def brass(sound: Sound, s: Setting) -> list[Note]:
    """Stabs with rests in between, or wide held chords."""
    if s.density == 0:
        return held_chords(s, 48, 76, 4) + bass_line(s, 43, 55, "roots")
    rhythm = s.pick("X..x....", "X.....xx", "..Xx..X-", "X--x--..", "X.x.....")
    if s.density == 2:
        rhythm = s.pick("X.xx.x.x", "XxX.xxX.", "X..x..x.")
    return struck_chords(s, 50, 79, rhythm, 4) + bass_line(s, 41, 53, s.pick("roots", "fifths"))


def synth(sound: Sound, s: Setting) -> list[Note]:
    """Arpeggio, riff or lead."""
    if s.density == 0:
        return melody(s, 60, sound.high, legato=1.0)
    manner = s.pick("arpeggio", "arpeggio", "riff", "lead")
    if manner == "lead":
        return melody(s, 57, sound.high, legato=0.95, pentatonic=s.chance(0.5))
    if manner == "riff":
        low = 48 + round(16 * s.register)
        return riff(s, low, low + 19, 4 if s.density == 2 else 2)
    step = 0.25 if s.density == 2 or s.chance(0.4) else 0.5
    low = 48 + round(12 * s.register)
    return arpeggio(s, low, low + 28, step, s.pick("up", "updown", "down", "random"), 4, ring=0.8)


def pad(sound: Sound, s: Setting) -> list[Note]:
    """One or two wide chords through the loop."""
    low = sound.low + round(12 * s.register)
    return held_chords(s, low + 8, low + 32, 4) + bass_line(s, low, low + 12, "roots")


def bagpipe(sound: Sound, s: Setting) -> list[Note]:
    """A melody with grace notes over two drones."""
    tonic = between(s.pitch(0), 45, 57)
    drones = [Note(0, s.beats, tonic, 70), Note(0, s.beats, tonic - 12, 64)]
    return drones + melody(s, 62, sound.high, legato=1.0, ornaments=0.6)
