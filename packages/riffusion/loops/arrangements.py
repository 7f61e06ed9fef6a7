"""The five loops as data: which instrument plays what on which step.

The pattern of a `DrumTrack` has one character per step: `X` loud, `x` normal, `o` soft, `.` rest.
The pattern of a `NoteTrack` has one word per step: a scale degree (0 = root, 2 = third, 7 = octave,
-3 below the root), a chord of degrees joined by `/`, `-` to hold the previous note, or `.` for a
rest. `!` after a note or chord accents it. Degrees count from the root of the current chord, or
from the key's tonic if `follows_chords` is off. `|` is ignored; it makes patterns easier to read.
Patterns repeat until the loop is full.
"""

import dataclasses
from collections.abc import Callable

import numpy as np

from riffusion.loops import drums, instruments
from riffusion.loops.oscillators import Signal

Instrument = Callable[[float, float, np.random.Generator], Signal]

_LEVELS = {"X": 1.0, "x": 0.7, "o": 0.35}


@dataclasses.dataclass(frozen=True)
class Event:
    """One hit, note or chord; times are in beats from the start of its pattern."""

    start_beats: float
    duration_beats: float
    degrees: tuple[int, ...]
    level: float


@dataclasses.dataclass(frozen=True)
class DrumTrack:
    """A drum and its pattern."""

    instrument: Instrument
    hits: str
    gain_db: float = 0.0
    steps_per_beat: int = 4

    octave = 4
    follows_chords = False

    def events(self) -> tuple[list[Event], float]:
        """The hits of the pattern, and the pattern's length in beats."""
        steps = [step for step in self.hits if step not in " |"]
        step_beats = 1 / self.steps_per_beat
        hits = [
            Event(i * step_beats, step_beats, (0,), _LEVELS[step])
            for i, step in enumerate(steps)
            if step != "."
        ]
        return hits, len(steps) * step_beats


@dataclasses.dataclass(frozen=True)
class NoteTrack:
    """A pitched instrument and its pattern."""

    instrument: Instrument
    notes: str
    octave: int
    gain_db: float = 0.0
    steps_per_beat: int = 4
    follows_chords: bool = True

    def events(self) -> tuple[list[Event], float]:
        """The notes of the pattern, and the pattern's length in beats."""
        steps = [step for step in self.notes.split() if step != "|"]
        step_beats = 1 / self.steps_per_beat
        notes = []
        for i, step in enumerate(steps):
            if step in (".", "-"):
                continue
            held = next((j for j in range(i + 1, len(steps)) if steps[j] != "-"), len(steps))
            degrees = tuple(int(degree) for degree in step.removesuffix("!").split("/"))
            level = 1.0 if step.endswith("!") else 0.7
            notes.append(Event(i * step_beats, (held - i) * step_beats, degrees, level))
        return notes, len(steps) * step_beats


@dataclasses.dataclass(frozen=True)
class Arrangement:
    """A loop: its defaults, chords and tracks.

    Args:
        beats, tempo_bpm: defaults, with which the loop lasts exactly 5.12 s.
        key: default key; see `Key.parse`.
        chords: (scale degree of the root, length in beats), repeated until the loop is full.
        tracks: the drum and note tracks, which play at the same time.
    """

    beats: int
    tempo_bpm: float
    key: str
    chords: tuple[tuple[int, float], ...]
    tracks: tuple[DrumTrack | NoteTrack, ...]

    def chord_root(self, beat: float) -> int:
        """Scale degree of the chord that sounds at a beat."""
        position = beat % sum(length for _, length in self.chords)
        for root, length in self.chords:
            if position < length:
                return root
            position -= length
        return self.chords[-1][0]


OG_BEAT = Arrangement(
    beats=8,
    tempo_bpm=93.75,
    key="A minor",
    chords=((0, 4), (-2, 2), (-1, 2)),  # Am | F G
    tracks=(
        DrumTrack(drums.kick, "X..x ..x. ..X. ...x | X..x ..x. .xX. ....", 2),
        DrumTrack(drums.snare, ".... X..o .o.. X... | .... X..o .o.. X.oo", -1),
        DrumTrack(drums.closed_hat, "x.xo x.x. x.xo x.x.", -5),
        DrumTrack(drums.open_hat, ".... .... .... .... | .... .... .... ..x.", -6),
        NoteTrack(
            instruments.synth_bass, "0! - . 0 . . 7 . 0 . 0! - . 4 . .", octave=2, gain_db=-2
        ),
        NoteTrack(
            instruments.electric_piano,
            ". . 0/2/4/6! - - . . . . . 0/2/4! - - - . .",
            octave=4,
            gain_db=-10,
        ),
        NoteTrack(
            instruments.pluck,
            "4 - . 2 . 0 . . . . . . 0 . 2 . | 4! - - . 3 - . 2 - . 1 . -1 - . .",
            octave=5,
            gain_db=-9,
            follows_chords=False,
        ),
        NoteTrack(instruments.pad, "0/4 - - - - - - -", octave=3, gain_db=-17),
    ),
)
"""A steady head-nodding groove: drums, bass, chords on the off-beats, a sparse guitar line."""

AGILE = Arrangement(
    beats=12,
    tempo_bpm=140.625,
    key="E minor",
    chords=((0, 4), (-2, 4), (-1, 4)),  # Em | C | D
    tracks=(
        NoteTrack(instruments.pluck, "0! 2 4 7 9 7 4 2 | 0! 4 7 9 11! 9 7 4", octave=4, gain_db=-3),
        NoteTrack(instruments.pluck, "7 . . 4 . . 2! . | . 7 . . 4 . 9! .", octave=5, gain_db=-9),
        NoteTrack(
            instruments.synth_bass, "0! . 0 . 7 . 0 . | 0! . 0 7 . 0 4 .", octave=2, gain_db=-3
        ),
        NoteTrack(
            instruments.synth_lead,
            "4! - - - - . 3 . 4 - . 6 - . 7 . | 4 - - - 2 - - - 0 - . 2 - . 4 . "
            "| 3! - - - - - . 1 3 - 4 - 6 - 8 .",
            octave=5,
            gain_db=-13,
            follows_chords=False,
        ),
        DrumTrack(drums.kick, "X...X...X...X..x", 1),
        DrumTrack(drums.clap, "....x.......x..o", -3),
        DrumTrack(drums.closed_hat, "o.x.o.x.o.x.o.xo", -8),
        DrumTrack(drums.shaker, "xoxo", -20),
    ),
)
"""A quick arpeggio of two plucked strings, with a lead above a four-to-the-floor."""

MARIM = Arrangement(
    beats=10,
    tempo_bpm=117.1875,
    key="G major",
    chords=((0, 3), (3, 2), (-2, 3), (4, 2)),  # G C | Em D, five beats each
    tracks=(
        NoteTrack(
            instruments.marimba,
            "0! . 4 2 . 4 7! . 4 2 . 4 | 0! . 4 7 . 4 2 .",
            octave=4,
            gain_db=0,
        ),
        NoteTrack(
            instruments.marimba,
            ". 9 . 7 9 . . 11! . 9 7 . | . 9 7 . 4 . 7 9",
            octave=4,
            gain_db=-4,
        ),
        NoteTrack(
            instruments.marimba, "0! . . 0 . . 4 . . 0 . . | 0! . . 4 . . 0 .", octave=3, gain_db=0
        ),
        NoteTrack(
            instruments.upright_bass, "0! - - - - . 4 - - - . . | 0 - - - . . -3 .", octave=2
        ),
        DrumTrack(drums.shaker, "XoxoXoxoXoxoXoxoXoxo", -11),
        DrumTrack(drums.wood_block, "..x...x..x..|..x..x..", -8),
        DrumTrack(drums.kick, "X.......x...|X.......", -2),
        DrumTrack(drums.brush, "....x.......|....x...", -6),
    ),
)
"""Three interlocking marimbas in five, with bass, shaker and wood block."""

MOTORWAY = Arrangement(
    beats=12,
    tempo_bpm=140.625,
    key="A major",
    chords=((0, 4), (3, 4), (-3, 4)),  # A | D | E
    tracks=(
        DrumTrack(drums.kick, "X.x.....X.x.....", 1),
        DrumTrack(drums.snare, "....X.......X...|....X.......X...|....X.......X.xx", -1),
        DrumTrack(drums.closed_hat, "X.o.x.o.X.o.x.o.", -4),
        DrumTrack(drums.open_hat, "................|................|..............x.", -6),
        NoteTrack(
            instruments.synth_bass, "0! . 0 . 0 . 0 . 0! . 0 . 0 . 4 .", octave=2, gain_db=-2
        ),
        NoteTrack(instruments.synth_lead, "0 7 4 7 2 7 4 7", octave=4, gain_db=-11),
        NoteTrack(
            instruments.synth_lead,
            "7! - - - - - 6 - 7 - - - 4 - - - | 5! - - - - - 4 - 5 - - - 7 - - - "
            "| 8! - - - - - 7 - 6 - - - 4 - - -",
            octave=4,
            gain_db=-9,
            follows_chords=False,
        ),
        NoteTrack(instruments.pad, "0/2/4/7 - - - - - - - - - - - - - - -", octave=3, gain_db=-10),
    ),
)
"""A straight road at night: motorik drums, eighth-note bass, a sequencer and a wide lead."""

VIBES = Arrangement(
    beats=8,
    tempo_bpm=93.75,
    key="F major",
    chords=((0, 2), (-2, 2), (1, 2), (-3, 2)),  # Fmaj7 Dm7 | Gm7 C7
    tracks=(
        NoteTrack(
            instruments.vibraphone,
            "2/4/6! - - - - . | . . 0/4/6 - - -",
            octave=4,
            gain_db=-4,
            steps_per_beat=3,
        ),
        NoteTrack(
            instruments.vibraphone,
            "8 - - 6 - 7 | 4! - - - - 2 | 8 - 9 8 - 5 | 4! - - . 3 4",
            octave=4,
            gain_db=-3,
            steps_per_beat=3,
            follows_chords=False,
        ),
        NoteTrack(
            instruments.upright_bass,
            "0! - - 2 - 0 | 4 - - 5 - -",
            octave=2,
            gain_db=0,
            steps_per_beat=3,
        ),
        DrumTrack(drums.ride, "X..x.x", -5, steps_per_beat=3),
        DrumTrack(drums.closed_hat, "...x..", -5, steps_per_beat=3),
        DrumTrack(drums.brush, "x..X..x..X.o", -5, steps_per_beat=3),
        DrumTrack(drums.kick, "X..........o|x...........", -4, steps_per_beat=3),
    ),
)
"""A swinging I vi ii V on the vibraphone, with double bass, ride and brushes."""

ARRANGEMENTS = {
    "og_beat": OG_BEAT,
    "agile": AGILE,
    "marim": MARIM,
    "motorway": MOTORWAY,
    "vibes": VIBES,
}
