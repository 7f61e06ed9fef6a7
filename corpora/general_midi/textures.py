"""Accompaniments: chords, arpeggios and bass lines."""

from corpora.general_midi.notes import Note
from corpora.general_midi.setting import Chord, Setting, between

_SWING = 1 / 6
"""Delay of a swung off-beat: from half a beat to two thirds."""


def chord_pitches(setting: Setting, chord: Chord, low: int, high: int, count: int = 4) -> list[int]:
    """At most `count` pitches of a chord in close position within [low, high], ascending."""
    tones = [setting.pitch(chord.root + degree) for degree in chord.degrees]
    found = sorted(
        {
            tone + 12 * octave
            for tone in tones
            for octave in range(-6, 7)
            if low <= tone + 12 * octave <= high
        }
    )
    if len(found) <= count:
        return found
    start = round(setting.register * (len(found) - count))
    return found[start : start + count]


def steps(setting: Setting, step_beats: float) -> list[float]:
    """Times of a regular pulse through the loop; with swing, off-beats are late."""
    times = [i * step_beats for i in range(round(setting.beats / step_beats))]
    if setting.swing and step_beats == 0.5:
        return [t + _SWING * (t % 1 == 0.5) for t in times]
    return times


def held_chords(
    setting: Setting, low: int, high: int, count: int = 4, overlap: float = 1.0
) -> list[Note]:
    """Chords held for their full length; at high density, struck again half-way."""
    notes = []
    for chord in setting.chords:
        parts = 2 if setting.density == 2 and chord.length_beats >= 2 else 1
        length = chord.length_beats / parts
        pitches = chord_pitches(setting, chord, low, high, count)
        notes += [
            Note(chord.start_beats + part * length, length * overlap, pitch, setting.loudness())
            for part in range(parts)
            for pitch in pitches
        ]
    return notes


def struck_chords(
    setting: Setting, low: int, high: int, rhythm: str, count: int = 4, step_beats: float = 0.5
) -> list[Note]:
    """Chords in a repeating rhythm of `X` loud, `x` normal, `-` held, `.` rest."""
    times = steps(setting, step_beats)
    notes = []
    for i, time in enumerate(times):
        sign = rhythm[i % len(rhythm)]
        if sign not in "Xx":
            continue
        held = 1
        while i + held < len(times) and rhythm[(i + held) % len(rhythm)] == "-":
            held += 1
        accent = 12 if sign == "X" else 0
        for pitch in chord_pitches(setting, setting.chord_at(time), low, high, count):
            notes.append(Note(time, held * step_beats * 0.9, pitch, setting.loudness(accent)))
    return notes


def strummed(setting: Setting, low: int, high: int, rhythm: str, count: int = 5) -> list[Note]:
    """Chords strummed with a plectrum: one string after the other, up and down."""
    notes = []
    for number, note in enumerate(struck_chords(setting, low, high, rhythm, count)):
        string = number % count
        is_up = note.start_beats % 1 > 0.25
        delay = 0.02 * (count - 1 - string if is_up else string)
        notes.append(
            Note(note.start_beats + delay, note.duration_beats + 0.3, note.pitch, note.velocity)
        )
    return [note for note in notes if note.start_beats < setting.beats]


def arpeggio(
    setting: Setting,
    low: int,
    high: int,
    step_beats: float,
    pattern: str = "up",
    count: int = 4,
    ring: float = 1.0,
) -> list[Note]:
    """The notes of each chord one after the other: `up`, `down`, `updown`, `alberti`, `random`."""
    notes = []
    for i, time in enumerate(steps(setting, step_beats)):
        pitches = chord_pitches(setting, setting.chord_at(time), low, high, count)
        n = len(pitches)
        if pattern == "up":
            index = i % n
        elif pattern == "down":
            index = n - 1 - i % n
        elif pattern == "updown":
            cycle = max(1, 2 * n - 2)
            index = min(i % cycle, cycle - i % cycle)
        elif pattern == "alberti":
            index = (0, n - 1, n // 2, n - 1)[i % 4]
        else:
            index = int(setting.rng.integers(n))
        accent = 10 if time % 1 == 0 else 0
        notes.append(Note(time, step_beats * ring, pitches[index], setting.loudness(accent)))
    return notes


def bass_line(setting: Setting, low: int, high: int, pattern: str) -> list[Note]:
    """A bass line: `roots`, `fifths`, `octaves`, `walking`, `pulse` or `syncopated`."""

    def tone(chord: Chord, degree: int) -> int:
        return between(setting.pitch(chord.root + degree), low, high)

    notes = []
    if pattern == "roots":
        for chord in setting.chords:
            notes.append(
                Note(chord.start_beats, chord.length_beats, tone(chord, 0), setting.loudness(4))
            )
        return notes
    if pattern == "walking":
        last = tone(setting.chords[0], 0)
        for time in steps(setting, 1):
            chord = setting.chord_at(time)
            if time == chord.start_beats:
                pitch = tone(chord, 0)
            else:
                degree = int(setting.rng.choice([0, 1, 2, 3, 4, 5, 6]))
                around = [setting.pitch(chord.root + degree + shift) for shift in (0, 1, -1)]
                pitch = min(
                    (between(p, low, high) for p in around),
                    key=lambda p: abs(abs(p - last) - 2),
                )
            notes.append(Note(time, 0.95, pitch, setting.loudness(4)))
            last = pitch
        return notes
    rhythms = {
        "fifths": ("xx", 1.0),
        "octaves": ("xx", 0.5),
        "pulse": ("xx", 0.5),
        "syncopated": (setting.pick("x..x..x.", "x..xx.x.", "x.xx..x.", "x...x.xx"), 0.5),
    }
    rhythm, step_beats = rhythms[pattern]
    for i, time in enumerate(steps(setting, step_beats)):
        if rhythm[i % len(rhythm)] == ".":
            continue
        chord = setting.chord_at(time)
        pitch = tone(chord, 0)
        if pattern == "fifths" and i % 2:
            pitch = tone(chord, 4)
        elif pattern == "octaves" and i % 2:
            pitch += 12
        elif pattern == "syncopated" and time % 2 > 1 and setting.chance(0.4):
            pitch = tone(chord, 4)
        notes.append(Note(time, step_beats * 0.9, pitch, setting.loudness(6 * (time % 1 == 0))))
    return notes
