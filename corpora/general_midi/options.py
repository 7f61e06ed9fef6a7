"""The options that decide the corpus."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from corpora.general_midi.sound import Sound
from riffusion.datasets.folder import Split
from riffusion.errors import InputError

_MAX_CLIPS = 100_000


@dataclass(frozen=True)
class CorpusOptions:
    """The options that decide the corpus.

    Args:
        clips_per_sound: clips per sound in both splits together, 1 to 100,000.
        seed: seed of all random choices, 0 to 2**63 - 1.
        sounds: labels of the sounds; None for all that are not held out.
        validation_share: share of each sound's clips for validation, 0 to 0.9; if it is over 0, at
            least one clip.
        with_scores: whether music21's scores are used besides patterns.
        soundfont: soundfont file; None finds an installed one.

    Raises:
        InputError: a number is out of range.
    """

    clips_per_sound: int = 200
    seed: int = 0
    sounds: Sequence[str] | None = None
    validation_share: float = 0.1
    with_scores: bool = True
    soundfont: Path | None = None

    def __post_init__(self) -> None:
        for name, low, high in (
            ("clips_per_sound", 1, _MAX_CLIPS),
            ("seed", 0, 2**63 - 1),
            ("validation_share", 0, 0.9),
        ):
            value = getattr(self, name)
            if not low <= value <= high:
                raise InputError(f"{value} must be from {low} to {high}", field=name)

    def num_clips(self, split: Split) -> int:
        """Number of clips per sound in a split."""
        kept = self.clips_per_sound * self.validation_share
        validation = max(1, round(kept)) if kept > 0 and self.clips_per_sound > 1 else 0
        return validation if split == "validation" else self.clips_per_sound - validation

    def to_json(self, sounds: Sequence[Sound], soundfont: Path) -> dict[str, object]:
        """Everything that changes images or captions, for `dataset.json`.

        Args:
            sounds: the sounds that `self.sounds` names.
            soundfont: the soundfont that is used.
        """
        return {
            "clips_per_sound": self.clips_per_sound,
            "seed": self.seed,
            "sounds": [sound.label for sound in sounds],
            "validation_share": self.validation_share,
            "scores": self.with_scores,
            "soundfont": soundfont.name,
            "soundfont_bytes": soundfont.stat().st_size,
        }
