"""A sound of the corpus: names, programs, range and style."""

from dataclasses import dataclass
from typing import Literal

from corpora.general_midi.notes import DRUM_BANK

Kind = Literal["instrument", "beat", "mixture"]


@dataclass(frozen=True)
class Sound:
    """A sound of the corpus.

    Args:
        label: its name, which is its class in evaluations.
        kind: instrument, beat or mixture.
        synonyms: other names, at least three; no other sound has them.
        idiom: name in `idioms.IDIOMS`; for mixtures, in `ensembles.ENSEMBLES`.
        programs: General MIDI programs to choose from; empty for mixtures.
        low, high: range in MIDI pitches.
        styles: styles to choose from.
        scores: collections in `scores.COLLECTIONS` that suit it.
        voices: number of voices of a score that it plays; 0 for all.
        bank: `DRUM_BANK` for drum kits, else 0.
        vibrato: modulation wheel, 0 to 127.
        never: moods that its timbre contradicts.
        is_held_out: whether it is made only if it is named, to show how a new sound is learned.
    """

    label: str
    kind: Kind
    synonyms: tuple[str, ...]
    idiom: str
    programs: tuple[int, ...] = ()
    low: int = 48
    high: int = 84
    styles: tuple[str, ...] = ()
    scores: tuple[str, ...] = ()
    voices: int = 1
    bank: int = 0
    vibrato: int = 0
    never: tuple[str, ...] = ()
    is_held_out: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """The label and its synonyms."""
        return (self.label, *self.synonyms)

    @property
    def folder(self) -> str:
        """Name of the folder of its images."""
        return self.label.replace(" ", "_")


def instrument(
    label: str,
    synonyms: str,
    idiom: str,
    programs: tuple[int, ...],
    span: tuple[int, int],
    styles: str,
    scores: str = "",
    *,
    voices: int = 1,
    vibrato: int = 0,
    never: str = "",
    is_held_out: bool = False,
) -> Sound:
    """A solo instrument; lists of words are separated by commas."""
    return Sound(
        label,
        "instrument",
        _listed(synonyms),
        idiom,
        programs,
        low=span[0],
        high=span[1],
        styles=_listed(styles),
        scores=_listed(scores),
        voices=voices,
        vibrato=vibrato,
        never=_listed(never),
        is_held_out=is_held_out,
    )


def beat(label: str, synonyms: str, kits: tuple[int, ...], styles: str) -> Sound:
    """A drum kit; the label names its idiom."""
    return Sound(
        label,
        "beat",
        _listed(synonyms),
        label.replace(" ", "_"),
        kits,
        styles=_listed(styles),
        bank=DRUM_BANK,
    )


def mixture(label: str, synonyms: str, styles: str, never: str = "") -> Sound:
    """Several instruments; the label names their ensemble."""
    return Sound(
        label,
        "mixture",
        _listed(synonyms),
        label.replace(" ", "_"),
        styles=_listed(styles),
        never=_listed(never),
    )


def _listed(text: str) -> tuple[str, ...]:
    return tuple(item.strip() for item in text.split(",") if item.strip())
