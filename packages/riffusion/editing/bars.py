"""The bar of a recording, with which it continues."""

from collections.abc import Callable
from dataclasses import dataclass

from riffusion.editing.beat_grid import BeatGrid, find_beat_grid
from riffusion.editing.listening import listen
from riffusion.editing.sound import Sound
from riffusion.errors import InputError

_BEATS_IF_UNKNOWN = 4


@dataclass(frozen=True, eq=False)
class Bar:
    """A recording's bar.

    Args:
        length_s: in seconds.
        tempo_bpm: the recording's tempo.
        grid: its beats; None if no beat was found, and a given tempo is taken as it is.
    """

    length_s: float
    tempo_bpm: float
    grid: BeatGrid | None


def find_bar(
    recording: Sound,
    tempo_bpm: float | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Bar:
    """Listen to a recording for its tempo and metre.

    Args:
        recording: any length.
        tempo_bpm: its tempo, if it is known to a few percent. Where no beat is found, it is taken
            as it is, with four beats per bar.
        progress: called with the samples done and their total.

    Raises:
        InputError: no beat was found, and no tempo is given.
    """
    heard = listen(recording, progress)
    try:
        grid = find_beat_grid(heard, tempo_bpm)
    except InputError:
        if tempo_bpm is None:
            raise
        return Bar(60 / tempo_bpm * _BEATS_IF_UNKNOWN, tempo_bpm, None)
    return Bar(60 / grid.tempo_bpm * grid.metre, grid.tempo_bpm, grid)
