"""Keys and scale degrees, which an arrangement's numbers stand for."""

import dataclasses
import re
from typing import Self

from riffusion.errors import InputError
from riffusion.loops.grid import short_repr

SCALES = {"major": (0, 2, 4, 5, 7, 9, 11), "minor": (0, 2, 3, 5, 7, 8, 10)}
"""Semitones of the seven scale degrees above the tonic; minor is natural minor."""

_NATURALS = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
_NAMES = ("C", "C#", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")
"""The usual name of each pitch class."""
_KEY_NAME = re.compile(r"([A-G])([#b♯♭]?)[ -]*(major|maj|minor|min|m|)", re.IGNORECASE)


@dataclasses.dataclass(frozen=True)
class Key:
    """A tonic and a mode.

    Args:
        tonic: pitch class, 0 = C … 11 = B.
        mode: `major` or `minor`.
    """

    tonic: int
    mode: str

    @classmethod
    def parse(cls, name: str) -> Self:
        """The key with a name such as `A minor`, `Am`, `F#`, `Bb major`.

        Raises:
            InputError: `name` isn't the name of a key.
        """
        match = _KEY_NAME.fullmatch(name.strip()) if isinstance(name, str) else None
        if match is None:
            raise InputError(
                f"{short_repr(name)} is not a key; write a note ({', '.join(_NAMES)}) and major or "
                "minor, such as 'F# minor' or 'Am'",
                field="key",
            )
        letter, accidental, mode = match.groups()
        shift = {"": 0, "#": 1, "♯": 1, "b": -1, "♭": -1}[accidental.lower()]
        is_minor = mode == "m" or mode.lower() in ("min", "minor")
        return cls((_NATURALS[letter.upper()] + shift) % 12, "minor" if is_minor else "major")

    @property
    def name(self) -> str:
        """Such as `A minor`; `Key.parse` reads it."""
        return f"{_NAMES[self.tonic]} {self.mode}"

    def frequency_hz(self, degree: int, octave: int) -> float:
        """Equal-tempered pitch of a scale degree.

        Args:
            degree: 0 is the tonic, 7 the tonic an octave higher, -1 the seventh below the tonic.
            octave: scientific octave for the tonic C. Tonics above F# are below that C, so that a
                loop stays in about the same register in every key.

        Returns:
            Frequency in Hz, with A4 at 440.
        """
        octaves, step = divmod(degree, 7)
        tonic = self.tonic - 12 if self.tonic > 6 else self.tonic
        semitones_from_c4 = tonic + SCALES[self.mode][step] + 12 * (octave - 4 + octaves)
        return float(440.0 * 2 ** ((semitones_from_c4 - 9) / 12))
