"""Melodies, riffs and ostinatos."""

from corpora.general_midi.notes import Note
from corpora.general_midi.setting import Setting, between

_RHYTHMS: tuple[tuple[tuple[float, ...], ...], ...] = (
    ((2,), (1, 1), (1.5, 0.5), (2,), (1, 1)),
    ((1, 0.5, 0.5), (0.5, 0.5, 1), (1.5, 0.5), (0.5, 1, 0.5), (1, 1)),
    (
        (0.5, 0.5, 0.5, 0.5),
        (0.5, 0.25, 0.25, 0.5, 0.5),
        (0.25, 0.25, 0.5, 0.25, 0.25, 0.5),
        (0.75, 0.25, 0.5, 0.5),
        (0.25,) * 8,
    ),
)
"""Rhythms of two beats as durations in beats: sparse, medium, busy."""
_FORMS = ((0, 1, 0, 2), (0, 0, 1, 2), (0, 1, 2, 1), (0, 0, 0, 1))
_PENTATONIC = {"major": (0, 1, 2, 4, 5), "minor": (0, 2, 3, 4, 6)}
"""Scale degrees of the pentatonic scales."""
_SWUNG = {0.5: 1 / 6}


def melody(
    setting: Setting,
    low: int,
    high: int,
    legato: float = 0.95,
    pentatonic: bool = False,
    rests: float = 0.0,
    ornaments: float = 0.0,
) -> list[Note]:
    """One voice over the chords: chord tones on the beats, steps in between, recurring motifs.

    Args:
        setting: key, chords, density and register.
        low, high: range in MIDI pitches; the melody stays within 17 semitones of it, which the
            register chooses.
        legato: duration of a note as a share of the time until the next one.
        pentatonic: whether only the pentatonic scale is used.
        rests: share of notes that are left out, except for the first note of the loop.
        ornaments: share of long notes that start with a grace note a step above.
    """
    rng = setting.rng
    span = min(high - low, 17)
    floor = low + round(setting.register * (high - low - span))
    ceiling = floor + span
    choices = _RHYTHMS[setting.density]
    cells = [choices[int(rng.integers(len(choices)))] for _ in range(3)]
    form = _FORMS[int(rng.integers(len(_FORMS)))]
    scale = [
        pitch
        for degree in range(-28, 29)
        if (not pentatonic or degree % 7 in _PENTATONIC[setting.key.mode])
        and floor <= (pitch := setting.pitch(degree)) <= ceiling
    ]
    index = len(scale) // 2
    moves = [[int(rng.choice([-2, -1, -1, 1, 1, 2, 0])) for _ in range(8)] for _ in range(3)]
    notes = []
    time = 0.0
    while time < setting.beats:
        number = form[int(time // 2) % len(form)]
        for i, duration in enumerate(cells[number]):
            index = _bounce(index + moves[number][i], len(scale))
            if time % 1 == 0:
                index = _nearest_chord_tone(setting, scale, index, time)
            if time == 0 or not setting.chance(rests):
                late = _SWUNG.get(time % 1, 0.0) if setting.swing else 0.0
                accent = 8 if time % 2 == 0 else 0
                length = duration * legato
                if ornaments and duration >= 1 and setting.chance(ornaments):
                    upper = scale[min(index + 1, len(scale) - 1)]
                    notes.append(Note(time + late, 0.12, upper, setting.loudness(accent)))
                    late, length = late + 0.125, length - 0.125
                notes.append(
                    Note(time + late, length - late / 2, scale[index], setting.loudness(accent))
                )
            time += duration
    return notes


def riff(setting: Setting, low: int, high: int, steps_per_beat: int = 2) -> list[Note]:
    """A short figure in the pentatonic scale, two or four beats long, repeated through the loop."""
    rng = setting.rng
    scale = [
        pitch
        for degree in range(-35, 36)
        if degree % 7 in _PENTATONIC[setting.key.mode]
        and low <= (pitch := setting.pitch(degree)) <= high
    ]
    tonic = between(setting.pitch(0), low, high)
    centre = min(range(len(scale)), key=lambda i: abs(scale[i] - tonic))
    length = 2 if setting.beats % 4 else int(rng.choice([2, 4]))
    count = length * steps_per_beat
    share = (0.45, 0.6, 0.85)[setting.density]
    hits = [i == 0 or rng.random() < share for i in range(count)]
    pitches = []
    index = centre
    for _ in range(count):
        pitches.append(scale[index])
        index = _bounce(index + int(rng.choice([-2, -1, 0, 1, 2])), min(len(scale), centre + 5))
    notes = []
    for repeat in range(setting.beats // length):
        for i in range(count):
            if not hits[i]:
                continue
            held = next((j for j in range(i + 1, count) if hits[j]), count) - i
            time = repeat * length + i / steps_per_beat
            notes.append(
                Note(time, held / steps_per_beat * 0.9, pitches[i], setting.loudness(10 * (i == 0)))
            )
    return notes


def ostinato(setting: Setting, low: int, high: int, step_beats: float = 0.5) -> list[Note]:
    """Repeated chord tones, in groups of two, three or four notes per pitch."""
    group = int(setting.rng.choice([2, 3, 4]))
    notes = []
    count = round(setting.beats / step_beats)
    for i in range(count):
        time = i * step_beats
        chord = setting.chord_at(time)
        degree = chord.degrees[(i // group) % len(chord.degrees)]
        pitch = between(setting.pitch(chord.root + degree), low, high)
        if (i // group) % 4 == 3:
            pitch = between(pitch + 12, low, high)
        notes.append(
            Note(time, step_beats * 0.8, pitch, setting.loudness(10 if i % group == 0 else -6))
        )
    return notes


def in_thirds(setting: Setting, notes: list[Note]) -> list[Note]:
    """A voice, doubled a third below in the scale."""
    scale = [setting.pitch(degree) for degree in range(-35, 36)]
    doubled = list(notes)
    for note in notes:
        if note.pitch in scale:
            below = scale[scale.index(note.pitch) - 2]
            doubled.append(
                Note(note.start_beats, note.duration_beats, below, max(1, note.velocity - 8))
            )
    return doubled


def _bounce(index: int, count: int) -> int:
    """`index` reflected at the ends of [0, count)."""
    if index < 0:
        index = -index
    if index >= count:
        index = 2 * (count - 1) - index
    return max(0, min(index, count - 1))


def _nearest_chord_tone(setting: Setting, scale: list[int], index: int, time: float) -> int:
    chord = setting.chord_at(time)
    classes = {setting.pitch(chord.root + degree) % 12 for degree in chord.degrees}
    tones = [i for i, pitch in enumerate(scale) if pitch % 12 in classes]
    return min(tones, key=lambda i: (abs(i - index), i)) if tones else index
