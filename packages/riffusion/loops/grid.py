"""A loop's length in beats, frames and samples, and its tempo."""

import dataclasses
import math
from typing import Self

from riffusion.errors import InputError, shortened
from riffusion.music_limits import MAX_BEATS, TEMPO_RANGE_BPM
from riffusion.spectrogram.params import SpectrogramParams

MAX_REPETITIONS = 1000
"""How often a loop is repeated at most."""


@dataclasses.dataclass(frozen=True)
class LoopGrid:
    """The length of a loop in beats and in whole spectrogram frames.

    Args:
        beats: number of beats.
        num_frames: number of frames.
        hop_length: samples per frame.
        sample_rate: in Hz.
    """

    beats: int
    num_frames: int
    hop_length: int
    sample_rate: int

    @classmethod
    def fit(cls, beats: int, tempo_bpm: float, params: SpectrogramParams) -> Self:
        """The grid of whole frames that is nearest to a tempo.

        Raises:
            InputError: beats or tempo are out of range, or the loop is too long for a request.
        """
        from riffusion.datatypes import MAX_DURATION_S  # imports pydantic, which nothing else needs

        checked_tempo(tempo_bpm)
        checked_whole("beats", beats, 1, MAX_BEATS)
        duration_s = beats * 60 / tempo_bpm
        if duration_s > MAX_DURATION_S:
            raise InputError(
                f"{beats} beats at tempo_bpm={tempo_bpm:g} last {duration_s:.1f} s, at most "
                f"{MAX_DURATION_S:g} s are allowed; take fewer beats or a faster tempo",
                field="beats",
            )
        num_frames = max(1, round(duration_s * params.sample_rate / params.hop_length))
        return cls(beats, num_frames, params.hop_length, params.sample_rate)

    @property
    def num_samples(self) -> int:
        """Length of the loop in samples."""
        return self.num_frames * self.hop_length

    @property
    def beat_s(self) -> float:
        """Length of a beat in seconds."""
        return self.num_samples / self.sample_rate / self.beats

    @property
    def tempo_bpm(self) -> float:
        """The actual tempo, which rounding to whole frames changes a little."""
        return 60 / self.beat_s


def checked_tempo(tempo_bpm: float) -> float:
    """Return `tempo_bpm` if it is a number in range.

    Raises:
        InputError: it isn't.
    """
    low, high = TEMPO_RANGE_BPM
    is_number = isinstance(tempo_bpm, (int, float)) and not isinstance(tempo_bpm, bool)
    if not is_number or not low <= tempo_bpm <= high:  # NaN fails the comparison
        raise InputError(
            f"{short_repr(tempo_bpm)} must be from {low:g} to {high:g} beats per minute; "
            "93.75 makes 8 beats last 5.12 s",
            field="tempo_bpm",
        )
    return tempo_bpm


def checked_whole(name: str, value: int, low: int, high: int) -> int:
    """Return `value` if it is an integer in [low, high].

    Raises:
        InputError: it isn't.
    """
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise InputError(
            f"{short_repr(value)} must be a whole number from {low} to {high}", field=name
        )
    return value


def short_repr(value: object) -> str:
    """`repr(value)`, limited to about 60 characters."""
    if isinstance(value, int) and value.bit_length() > 128:
        return f"about 2^{math.floor(math.log2(abs(value)))}"
    return shortened(repr(value))
