"""The beats of a recording: steady, or slowly changing in tempo.

1. `tempo_path` finds the tempo over time, from the onset strength.
2. `best_chain` finds the beats that are about one period apart and have strong onsets.
3. `choose_level` tells whether half or twice the tempo is the beat.
4. The beats are smoothed: where one tempo explains all, they are its multiples.
5. They are moved to where the energy rises, which is known to a few milliseconds.
6. `find_bars` tells which beats are the first of a bar.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy  # scipy.ndimage is imported at its first use

from riffusion.editing.downbeats import find_bars
from riffusion.editing.listening import Heard
from riffusion.editing.metrical_level import choose_level, other_tempo
from riffusion.editing.tempo_path import tempo_path
from riffusion.errors import InputError
from riffusion.loops.beat_chain import Frames, best_chain
from riffusion.loops.grid import checked_tempo
from riffusion.loops.onsets import strength_from_bands
from riffusion.loops.oscillators import Signal

MIN_DURATION_S = 1.5
_MIN_BEATS = 3
_MIN_ONSET = 0.5
"""Onset strength of the loudest onset below which there is none; a drum has about 20."""
_MIN_ATTACK = 0.1
"""Sudden rise of energy, as a power of ten, below which there is no attack: 1 dB."""
_ENDS = 5
"""Frames at either end where a sound that is cut off looks like an onset."""
_REGULAR, _IRREGULAR = 0.35, 0.06
"""Mean correlations of onsets one to four beats apart, at and above which the tempo is certain, and
at and below which it isn't one; noise of ten seconds has about 0.05."""
_SMOOTHING_BEATS = 4.0
_STEADY_S = 0.012
"""Largest distance of smoothed beats from those of one tempo that is still one tempo."""
_END_BEATS = 4
_PROFILE_REACH_S = 0.045
_EXPECTED_S, _EXPECTED_SPREAD_S = 0.01, 0.02
"""How much later than the onset strength's peak the attack is."""
_EARLY_BEATS = 0.1
"""How far before the first sound its beat may be."""
_PERIOD_STEP = 0.05
"""Periods are rounded to this many frames, since equal ones share a table."""

Times = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class BeatGrid:
    """Beats and bars of a recording.

    Args:
        beats_s: times of all beats in seconds, ascending.
        first_downbeat: index of the first beat that begins a bar.
        metre: beats per bar.
        tempo_bpm: mean tempo.
        certainty: of the tempo, from 0 to 1.
        bar_certainty: of metre and downbeats, from 0 to 1.
        is_steady: whether the beats are multiples of one period.
        other_tempo_bpm: what the tempo is most likely if it isn't `tempo_bpm`: half or twice of it;
            None if it was given.
    """

    beats_s: Times
    first_downbeat: int
    metre: int
    tempo_bpm: float
    certainty: float
    bar_certainty: float
    is_steady: bool
    other_tempo_bpm: float | None = None

    @property
    def downbeats_s(self) -> Times:
        """Times of the beats that begin bars."""
        return self.beats_s[self.first_downbeat :: self.metre]


def find_beat_grid(heard: Heard, tempo_bpm: float | None = None) -> BeatGrid:
    """Find the beats of a recording.

    Args:
        heard: what was heard in it.
        tempo_bpm: its tempo, if it is known to a few percent.

    Returns:
        Beats from its beginning to its end, where it isn't silent. The tempo is accurate to about
        0.1 % for ten seconds of steady music, the beats to about 5 ms.

    Raises:
        InputError: the recording is shorter than 1.5 s, silent, or without a beat; or `tempo_bpm`
            is out of range.
    """
    if tempo_bpm is not None:
        checked_tempo(tempo_bpm)
    if heard.duration_s < MIN_DURATION_S:
        raise _no_tempo(
            f"a recording of {heard.duration_s:.2f} s is too short for its tempo to be found, at "
            f"least {MIN_DURATION_S} s are needed",
            tempo_bpm,
        )
    if heard.peak == 0:
        raise _no_tempo("the recording is silent, so it has no tempo", tempo_bpm)
    strength = strength_from_bands(heard.bands)
    ends = round(_ENDS * heard.step_s / heard.attack_step_s)
    loudest = strength[_ENDS:-_ENDS].max(initial=0), heard.attacks[ends:-ends].max(initial=0)
    if loudest[0] < _MIN_ONSET or loudest[1] < _MIN_ATTACK:
        raise _no_tempo("the recording has no onsets, so it has no tempo", tempo_bpm)
    path = tempo_path(strength, heard.step_s, tempo_bpm)
    frames = _chain(strength, path.periods)
    regular = float(np.clip((path.regularity - _IRREGULAR) / (_REGULAR - _IRREGULAR), 0, 1))
    if frames.size < _MIN_BEATS or regular == 0:
        raise _no_tempo(
            "no beat was found in the recording: its onsets don't repeat evenly", tempo_bpm
        )
    share = 1.0
    if tempo_bpm is None and frames.size >= 4:
        level, share = choose_level(
            heard.bands, heard.band_edges_hz, frames, heard.step_s, path.saliences
        )
        chain = frames if level == 1 else _chain(strength, path.periods / level)
        if chain.size >= _MIN_BEATS:
            frames = chain
    beats, is_steady = _smooth(frames.astype(np.float64) * heard.step_s, heard)
    if beats.size < _MIN_BEATS:
        raise _no_tempo("the recording has too few beats for its tempo to be found", tempo_bpm)
    tempo = 60 * (beats.size - 1) / (beats[-1] - beats[0])
    beats = np.maximum(beats, 0.0)
    bars = find_bars(heard, beats)
    return BeatGrid(
        beats,
        bars.first_downbeat,
        bars.metre,
        float(tempo),
        regular * share,
        bars.certainty,
        is_steady,
        other_tempo(float(tempo)) if tempo_bpm is None else None,
    )


def _chain(strength: Signal, periods: Signal) -> Frames:
    rounded = np.maximum(np.rint(periods / _PERIOD_STEP) * _PERIOD_STEP, 1)
    return best_chain(strength, rounded)


def _no_tempo(why: str, tempo_bpm: float | None) -> InputError:
    known = "" if tempo_bpm is not None else "name its tempo if you know it, or "
    return InputError(f"{why}; {known}use another recording")


def _smooth(beats: Times, heard: Heard) -> tuple[Times, bool]:
    """Beats over the audible part of the recording, and whether they have one tempo."""
    numbers = _numbers(beats)
    line = _robust_line(numbers, beats)
    local = _local_lines(numbers, beats)
    ends = min(_END_BEATS, beats.size // 8)  # where lines follow from one side alone
    inside = slice(ends, beats.size - ends)
    is_steady = bool(np.abs(local - np.polyval(line, numbers))[inside].max() < _STEADY_S)
    every = np.arange(numbers[0], numbers[-1] + 1)
    first_s, last_s = _audible_s(heard)
    if not is_steady:
        smooth = np.interp(every, numbers, local)
        return _extended(smooth + _attack_offsets(smooth, heard), first_s, last_s), False
    steady: Times = np.polyval(line, every).astype(np.float64)
    line = _robust_line(every, steady + _attack_offsets(steady, heard))
    low = np.ceil((first_s - line[1]) / line[0] - _EARLY_BEATS)
    high = np.floor((last_s - line[1]) / line[0])
    return np.polyval(line, np.arange(low, high + 1)).astype(np.float64), True


def _numbers(beats: Times) -> Times:
    """Whole numbers of the beats, from 0; where the chain left one out, its number is left out."""
    steps = np.diff(beats)
    usual = np.array([np.median(steps[max(0, n - 8) : n + 9]) for n in range(steps.size)])
    return np.concatenate([[0], np.cumsum(np.maximum(1, np.rint(steps / usual)))])


def _robust_line(numbers: Times, beats: Times) -> Times:
    """Slope and intercept of beats over their numbers; outliers count little (Tukey's biweight)."""
    weights = np.ones(beats.size)
    for _ in range(10):
        line = np.polyfit(numbers, beats, 1, w=np.sqrt(weights))
        rest = beats - np.polyval(line, numbers)
        scale = max(4.7 * 1.48 * float(np.median(np.abs(rest))), 1e-4)
        weights = np.maximum(1 - (rest / scale) ** 2, 1e-3) ** 2
    return line


def _local_lines(numbers: Times, beats: Times) -> Times:
    """Each beat by the line through those around it, which count by a Gaussian of their number."""
    smooth = np.empty(beats.size)
    reach = round(3 * _SMOOTHING_BEATS)
    for index in range(beats.size):
        part = slice(max(0, index - reach), index + reach + 1)
        apart = numbers[part] - numbers[index]
        root = np.exp(-0.25 * (apart / _SMOOTHING_BEATS) ** 2)
        smooth[index] = (
            np.polyfit(apart, beats[part], 1, w=root)[1] if apart.size > 2 else (beats[index])
        )
    return smooth


def _attack_offsets(beats: Times, heard: Heard) -> Times:
    """How much later than each beat the energy rises, on average over the beats around it."""
    step_s = heard.attack_step_s
    reach = round(_PROFILE_REACH_S / step_s)
    shifts = np.arange(-reach, reach + 1)
    frames = np.rint(beats / step_s).astype(int)
    at = np.clip(frames[:, None] + shifts, 0, heard.attacks.size - 1)
    profiles = heard.attacks[at]
    profiles = scipy.ndimage.gaussian_filter1d(profiles, _SMOOTHING_BEATS, axis=0, mode="nearest")
    profiles = scipy.ndimage.gaussian_filter1d(profiles, 1.0, axis=1, mode="constant")
    # Spectral flux is early by up to half of its window.
    expected = np.exp(-0.5 * ((shifts * step_s - _EXPECTED_S) / _EXPECTED_SPREAD_S) ** 2)
    best = np.argmax(profiles * expected, axis=1)
    middle = np.clip(best, 1, 2 * reach - 1)
    row = np.arange(beats.size)
    left, centre, right = (profiles[row, middle + shift] for shift in (-1, 0, 1))
    bend = np.minimum(left - 2 * centre + right, -1e-12)
    between = np.clip(0.5 * (left - right) / bend, -0.5, 0.5)
    position = (frames + shifts[middle] + between + 0.5) * step_s
    offsets: Times = np.where(centre > 0, position - beats, 0.0)
    return offsets


def _audible_s(heard: Heard) -> tuple[float, float]:
    """When the recording begins and ends to be louder than -60 dB of its loudest."""
    level = heard.bands.max(axis=0)
    audible = np.flatnonzero(level > 1e-3 * level.max())
    return float(audible[0] * heard.step_s), min(
        float((audible[-1] + 1) * heard.step_s), heard.duration_s
    )


def _extended(beats: Times, first_s: float, last_s: float) -> Times:
    """The beats with others before and after them, up to the ends of what can be heard."""
    before, after = beats[1] - beats[0], beats[-1] - beats[-2]
    early = np.arange(1, (beats[0] - first_s) / before + _EARLY_BEATS)
    late = np.arange(1, (last_s - beats[-1]) / after)
    times: Times = np.concatenate(
        [beats[0] - before * early[::-1], beats, beats[-1] + after * late]
    )
    return times
