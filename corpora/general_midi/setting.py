"""The setting of a loop: key, chords, density, loudness and register."""

from dataclasses import dataclass

import numpy as np

from riffusion.loops.harmony import SCALES, Key

Progressions = tuple[tuple[int, ...], ...]

_PROGRESSIONS: dict[str, Progressions] = {
    "major": (
        (0, 4, 5, 3),
        (0, 5, 3, 4),
        (0, 3, 4, 0),
        (0, 3, 0, 4),
        (0, 2, 3, 4),
        (0, 4),
        (0, 3),
        (0, 4, 3, 4),
        (0,),
    ),
    "minor": (
        (0, 5, 2, 6),
        (0, 3, 4, 0),
        (0, 6, 5, 6),
        (0, 5, 3, 4),
        (0, 3, 6, 2),
        (0, 4),
        (0, 3),
        (0, 5),
        (0,),
    ),
}
"""Scale degrees of the roots, 0 = tonic; each progression is clearly in its mode."""
_JAZZ_PROGRESSIONS: dict[str, Progressions] = {
    "major": ((1, 4, 0, 0), (0, 5, 1, 4), (0, 3, 1, 4), (1, 4, 0, 5)),
    "minor": ((0, 5, 1, 4), (0, 3, 5, 4), (0, 3), (0, 6, 5, 4)),
}
_LONG = 4
_TONICS = (0, 2, 3, 4, 5, 7, 9, 10)


@dataclass(frozen=True)
class Chord:
    """A chord of the progression.

    Args:
        start_beats, length_beats: its position in the loop.
        root: scale degree of the root.
        degrees: scale degrees of its notes above the root, 2 = third, 4 = fifth, 6 = seventh.
    """

    start_beats: float
    length_beats: float
    root: int
    degrees: tuple[int, ...]


@dataclass(frozen=True)
class Setting:
    """The setting that all instruments of a loop share.

    Args:
        rng: generator for everything they play.
        beats: length of the loop.
        key: tonic and mode.
        chords: chords, which fill the loop.
        density: 0 sparse, 1 medium, 2 busy.
        velocity: mean velocity, 1 to 127.
        register: 0 low to 1 high, within an instrument's range.
        style: style such as `jazz`.
        swing: whether off-beats are late, as in triplets.
    """

    rng: np.random.Generator
    beats: int
    key: Key
    chords: tuple[Chord, ...]
    density: int
    velocity: int
    register: float
    style: str
    swing: bool = False

    def pitch(self, degree: int) -> int:
        """MIDI pitch of a scale degree; degree 0 is the tonic at or above C4."""
        octaves, step = divmod(degree, 7)
        return 60 + self.key.tonic + SCALES[self.key.mode][step] + 12 * octaves

    def chord_at(self, beat: float) -> Chord:
        """The chord at a beat of the loop."""
        beat %= self.beats
        return next(c for c in reversed(self.chords) if c.start_beats <= beat + 1e-6)

    def loudness(self, accent: float = 0.0) -> int:
        """A random velocity around the mean."""
        return int(np.clip(self.velocity + accent + self.rng.normal(0, 4), 12, 127))

    def pick(self, *choices: str) -> str:
        """A random choice."""
        return choices[int(self.rng.integers(len(choices)))]

    def chance(self, probability: float) -> bool:
        """True with this probability."""
        return bool(self.rng.random() < probability)


def make_setting(
    rng: np.random.Generator,
    beats: int,
    mode: str,
    density: int,
    velocity: int,
    register: float,
    style: str,
) -> Setting:
    """A setting with a random key, and a random chord progression that suits the style."""
    is_jazz = style in ("jazz", "bossa nova", "lofi")
    progressions = (_JAZZ_PROGRESSIONS if is_jazz else _PROGRESSIONS)[mode]
    roots = progressions[int(rng.integers(len(progressions)))]
    if beats == 6 and len(roots) == _LONG:
        roots = roots[:2] + roots[-1:]
    if style == "ambient":
        roots = roots[: int(rng.integers(1, 3))]
    degrees: tuple[int, ...] = (0, 2, 4)
    if is_jazz:
        degrees = (0, 2, 4, 6, 8) if rng.random() < 0.4 else (0, 2, 4, 6)
    elif style == "ambient" and rng.random() < 0.6:
        degrees = (0, 2, 4, 6)
    edges = [round(i * beats / len(roots)) for i in range(len(roots) + 1)]
    chords = tuple(
        Chord(edges[i], edges[i + 1] - edges[i], root, degrees) for i, root in enumerate(roots)
    )
    key = Key(_TONICS[int(rng.integers(len(_TONICS)))], mode)
    return Setting(rng, beats, key, chords, density, velocity, register, style, is_jazz)


def between(pitch: int, low: int, high: int) -> int:
    """`pitch` moved by octaves into [low, high], which must span at least an octave."""
    while pitch < low:
        pitch += 12
    while pitch > high:
        pitch -= 12
    return pitch
