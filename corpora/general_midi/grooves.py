"""Drum grooves: patterns with variations and fills.

A pattern has one character per step: `X` loud, `x` normal, `o` soft, `.` rest. Sixteen steps are
four beats, twelve steps are four beats of triplets. A pattern repeats through the loop and is cut
off at its end, so any number of beats works.
"""

from collections.abc import Mapping

from corpora.general_midi.notes import Note
from corpora.general_midi.setting import Setting

_LEVELS = {"X": 14, "x": 0, "o": -32}
KICK, STICK, SNARE, CLAP, SNARE_2 = 36, 37, 38, 39, 40
CLOSED, PEDAL, OPEN, CRASH, RIDE = 42, 44, 46, 49, 51
LOW_TOM, MID_TOM, HIGH_TOM = 43, 47, 50
COWBELL, HIGH_BONGO, LOW_BONGO = 56, 60, 61
MUTE_CONGA, HIGH_CONGA, LOW_CONGA = 62, 63, 64
HIGH_TIMBALE, LOW_TIMBALE, HIGH_AGOGO, LOW_AGOGO = 65, 66, 67, 68
CABASA, MARACAS, GUIRO, CLAVES, TRIANGLE = 69, 70, 73, 75, 81


def hits(setting: Setting, drum: int, pattern: str, gain: float = 0.0) -> list[Note]:
    """The hits of one drum's pattern through the loop."""
    signs = [sign for sign in pattern if sign not in " |"]
    step_beats = 1 / 3 if len(signs) % 12 == 0 else 1 / 4
    count = round(setting.beats / step_beats)
    return [
        Note(i * step_beats, step_beats, drum, setting.loudness(_LEVELS[sign] + gain))
        for i in range(count)
        if (sign := signs[i % len(signs)]) != "."
    ]


def groove(setting: Setting, patterns: Mapping[int, str], ghost_drum: int = 0) -> list[Note]:
    """Several drums at once; at high density, `ghost_drum` adds soft hits in between."""
    notes = [note for drum, pattern in patterns.items() for note in hits(setting, drum, pattern)]
    if ghost_drum and setting.density == 2:
        taken = {round(note.start_beats * 4) for note in notes if note.pitch == ghost_drum}
        notes += [
            Note(i / 4, 0.25, ghost_drum, setting.loudness(-38))
            for i in range(setting.beats * 4)
            if i not in taken and i % 4 in (1, 3) and setting.chance(0.25)
        ]
    return notes


def with_fill(setting: Setting, notes: list[Note], drums: tuple[int, ...]) -> list[Note]:
    """The groove with a fill over `drums` in its last one or two beats."""
    length = int(setting.rng.choice([1, 2]))
    start = setting.beats - length
    kept = [note for note in notes if note.start_beats < start]
    count = length * 4
    run = [
        Note(
            start + i / 4,
            0.25,
            drums[min(len(drums) - 1, i * len(drums) // count)],
            setting.loudness(2 + 10 * (i % 4 == 0)),
        )
        for i in range(count)
        if i % 2 == 0 or setting.chance(0.6)
    ]
    return kept + run


def rock(setting: Setting) -> list[Note]:
    """Back beat on two and four, hats or ride in eighths, crashes, tom fills."""
    kicks = (
        ("X.......X.......", "X.......X.x.....", "X.......x......."),
        ("X.....x.X.......", "X.x.....X.x.....", "X.......x.x.....", "X..x..x.X......."),
        ("X.x...x.X.x...x.", "X.xx..x.X.x..x..", "X..x..xxX..x..x."),
    )[setting.density]
    cymbal = int(setting.rng.choice([CLOSED, CLOSED, RIDE, OPEN]))
    time_keeping = (
        setting.pick("X...X...X...X...", "x...x...x...x..."),
        "X.x.X.x.X.x.X.x.",
        setting.pick("X.x.X.x.X.x.X.x.", "XoxoXoxoXoxoXoxo"),
    )[setting.density]
    notes = groove(
        setting,
        {
            KICK: setting.pick(*kicks),
            SNARE: "....X.......X...",
            cymbal: time_keeping,
        },
        SNARE,
    )
    if setting.chance(0.4):
        notes.append(Note(0, 1, CRASH, setting.loudness(8)))
    if setting.chance(0.4):
        notes = with_fill(setting, notes, (SNARE, HIGH_TOM, MID_TOM, LOW_TOM))
    return notes


def hip_hop(setting: Setting) -> list[Note]:
    """A laid-back back beat with an off-beat kick, swung hats, claps."""
    kick = setting.pick(
        "X..x......X.....",
        "X.....x...X..x..",
        "X..x...x..X.....",
        "X......x.xX.....",
        "X.x.......X..x.x",
    )
    hat = (
        setting.pick("x...x...x...x...", "x.....x.x.....x."),
        setting.pick("X.x.X.x.X.x.X.x.", "X.xoX.x.X.xoX.x."),
        setting.pick("XoxoXoxoXoxoXoxo", "X.xxX.xxX.xxXxxx"),
    )[setting.density]
    snare = int(setting.rng.choice([SNARE, CLAP, SNARE]))
    notes = groove(setting, {KICK: kick, snare: "....X.......X...", CLOSED: hat}, SNARE)
    if setting.chance(0.3):
        notes += hits(setting, OPEN, "..............x.")
    late = 0.06 if setting.chance(0.6) else 0.0
    return [
        Note(
            note.start_beats + late * (round(note.start_beats * 4) % 2),
            note.duration_beats,
            note.pitch,
            note.velocity,
        )
        for note in notes
    ]


def techno(setting: Setting) -> list[Note]:
    """Four on the floor, open hats off the beat, claps, sixteenth hats."""
    patterns = {KICK: "X...X...X...X..."}
    if setting.density >= 1 or setting.chance(0.5):
        patterns[OPEN] = "..X...X...X...X."
    if setting.density >= 1:
        patterns[CLAP] = setting.pick("....X.......X...", "....x.......x..o")
    if setting.density == 2 or setting.chance(0.4):
        patterns[CLOSED] = setting.pick("xoxoxoxoxoxoxoxo", "x.xxx.xxx.xxx.xx", "xx.xxx.xxx.xxx.x")
    if setting.chance(0.35):
        patterns[STICK] = setting.pick("..x..x....x..x..", "...x..x....x..x.")
    if setting.chance(0.25):
        patterns[COWBELL] = setting.pick("..x...x.x...x...", "x..x..x...x.x...")
    notes = groove(setting, patterns)
    if setting.chance(0.2):
        notes = with_fill(setting, notes, (SNARE,))
    return notes


def jazz(setting: Setting) -> list[Note]:
    """Brushes: swung ride, hi-hat with the foot on two and four, taps and swirls."""
    ride = (
        setting.pick("x..x..x..x..", "X..x..X..x.."),
        setting.pick("X..x.xX..x.x", "X..x..X..x.x"),
        "X..x.xX..x.x",
    )[setting.density]
    patterns = {RIDE: ride, PEDAL: "...X.....X.."}
    if setting.chance(0.7):
        patterns[SNARE_2] = setting.pick("x.....x.....", "x..x..x..x..")
    if setting.density >= 1:
        patterns[SNARE] = setting.pick(
            "..o..o.....o", ".....o..x...", "..o.....o..x", "...x.....x.."
        )
    if setting.chance(0.5):
        patterns[KICK] = setting.pick("o..o..o..o..", "x.....o.....", "x..........o")
    return groove(setting, patterns)


def latin(setting: Setting) -> list[Note]:
    """Clave, congas, bongos, timbales, shakers: in random combinations."""
    layers = {
        CLAVES: setting.pick("X..X..X...X.X...", "X..X...X..X.X...", "..X.X...X..X..X."),
        MUTE_CONGA: "..x...x...x...x.",
        HIGH_CONGA: setting.pick("....X.......X...", "....X..x....X..."),
        LOW_CONGA: setting.pick("......xx......xx", "..............xx"),
        HIGH_BONGO: setting.pick("X.x.x.x.X.x.x.x.", "X.xxx.x.X.xxx.x."),
        LOW_BONGO: "......X.......X.",
        COWBELL: setting.pick("X...x.x.X...x.x.", "X...X...X...X..."),
        MARACAS: setting.pick("XoxoXoxoXoxoXoxo", "X.x.X.x.X.x.X.x."),
        GUIRO: "X...x.x.X...x.x.",
        HIGH_AGOGO: "X.x...x.x..x....",
        LOW_AGOGO: "....x.......x.x.",
        LOW_TIMBALE: setting.pick("........x.....x.", "x.....x...x....."),
        HIGH_TIMBALE: "....x..x....x.x.",
        CABASA: "xoxoxoxoxoxoxoxo",
    }
    groups = (
        (CLAVES,),
        (MUTE_CONGA, HIGH_CONGA, LOW_CONGA),
        (HIGH_BONGO, LOW_BONGO),
        (COWBELL,),
        (MARACAS,),
        (GUIRO,),
        (HIGH_AGOGO, LOW_AGOGO),
        (LOW_TIMBALE, HIGH_TIMBALE),
        (CABASA,),
    )
    count = (2, 3, 5)[setting.density]
    chosen = {1, *setting.rng.permutation(len(groups))[:count].tolist()}
    return groove(setting, {drum: layers[drum] for i in sorted(chosen) for drum in groups[i]})


def bossa(setting: Setting) -> list[Note]:
    """The bossa nova pattern: side stick, shaker, and a kick like a heartbeat."""
    patterns = {
        KICK: "X..xX..xX..xX..x",
        STICK: "X..X..X...X..X..",
        CABASA: setting.pick("xoxoxoxoxoxoxoxo", "x.x.x.x.x.x.x.x."),
    }
    if setting.density == 2:
        patterns[TRIANGLE] = "x...x...x...x..."
    return groove(setting, patterns)


def synthwave(setting: Setting) -> list[Note]:
    """A straight electronic beat with a big snare."""
    notes = groove(
        setting,
        {
            KICK: setting.pick("X.......X.......", "X...X...X...X...", "X.....x.X......."),
            SNARE: "....X.......X...",
            CLOSED: setting.pick("x.x.x.x.x.x.x.x.", "xoxoxoxoxoxoxoxo"),
        },
    )
    return with_fill(setting, notes, (HIGH_TOM, MID_TOM, LOW_TOM)) if setting.chance(0.3) else notes
