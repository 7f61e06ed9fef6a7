"""A clip in memory, looped on its beats."""

import numpy as np

from riffusion.audio.waveform import Audio
from riffusion.editing.beat_grid import BeatGrid, find_beat_grid
from riffusion.editing.listening import listen
from riffusion.editing.looping import cut_out_loop, whole_beats_s
from riffusion.editing.sound import SoundInMemory
from riffusion.errors import InputError
from riffusion.loops.grid import MAX_REPETITIONS
from riffusion.music_limits import MAX_BEATS


def loop_it(clip: Audio, times: int = 12) -> Audio:
    """The longest perfect loop in a clip, several times; audio-diffusion's function of this name.

    The loop has whole bars if the clip has one, else whole beats; see `cut_out_loop`.

    Args:
        clip: at least 1.5 s.
        times: how often the loop is repeated, from 1 to 1000.

    Raises:
        InputError: `times` is out of range, or no beat was found in the clip.
    """
    check_times(times)
    sound = SoundInMemory(clip)
    grid = find_beat_grid(listen(sound))
    loop = cut_out_loop(sound, beats=_most_beats(grid, clip.duration_s))
    return Audio(np.tile(loop.waveform, times), clip.sample_rate)


def check_times(times: int) -> None:
    """Check a number of repetitions.

    Raises:
        InputError: it is out of range.
    """
    if not 1 <= times <= MAX_REPETITIONS:
        raise InputError(f"{times} must be from 1 to {MAX_REPETITIONS}", field="times")


def _most_beats(grid: BeatGrid, duration_s: float) -> int:
    """Whole bars, in beats, from the first downbeat to the end; if there is none, whole beats."""
    num_ends = whole_beats_s(grid, duration_s).size - 1
    in_bars = (num_ends - grid.first_downbeat) // grid.metre * grid.metre
    return max(1, min(in_bars or num_ends, MAX_BEATS))
