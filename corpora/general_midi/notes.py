"""Notes in beats, and parts of one instrument each."""

from dataclasses import dataclass

DRUM_BANK = 128
"""SoundFont bank of drum kits, as General MIDI players number it."""


@dataclass(frozen=True, order=True)
class Note:
    """A note or a drum hit.

    Args:
        start_beats: start in the loop, at least 0.
        duration_beats: time until it is released.
        pitch: MIDI number, 69 = A4 = 440 Hz; for drum kits, the number of the drum.
        velocity: MIDI velocity, 1 to 127.
    """

    start_beats: float
    duration_beats: float
    pitch: int
    velocity: int


@dataclass(frozen=True)
class Part:
    """The notes of one instrument in a loop.

    Args:
        program: General MIDI program, 0 = grand piano.
        notes: notes in any order; they start within the loop and may last beyond its end.
        bank: `DRUM_BANK` for drum kits, else 0.
        volume: MIDI channel volume, 0 to 127.
        vibrato: modulation wheel, 0 to 127.
    """

    program: int
    notes: tuple[Note, ...]
    bank: int = 0
    volume: int = 100
    vibrato: int = 0
