"""Recordings with a known tempo, known downbeats and a known key, made from scratch."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from riffusion.audio.waveform import Waveform, resample
from riffusion.loops import drums, instruments
from riffusion.loops.harmony import Key
from riffusion.loops.oscillators import SAMPLE_RATE

Times = npt.NDArray[np.float64]

ROCK = {
    "kick": "X.......X.......",
    "snare": "....X.......X...",
    "closed_hat": "x.o.x.o.x.o.x.o.",
}
"""One bar of 16 steps: kick on 1 and 3, snare on 2 and 4, hi-hat on the eighths."""
BREAK = {
    "kick": "X..x..x...X.....",
    "snare": "....X.......X..o",
    "closed_hat": "x.xox.x.x.xox.x.",
}
FOUR_ON_THE_FLOOR = {
    "kick": "X...X...X...X...",
    "clap": "....x.......x...",
    "open_hat": "..x...x...x...x.",
}
WALTZ = {"kick": "X...........", "snare": "....x...x...", "closed_hat": "x...o...o..."}
"""One bar of 12 steps: kick on 1, snare on 2 and 3."""
_LEVELS = {"X": 1.0, "x": 0.7, "o": 0.35, ".": 0.0}


def steady_beats(tempo_bpm: float, duration_s: float, start_s: float = 0.0) -> Times:
    """Times of all beats before `duration_s`."""
    return np.arange(start_s, duration_s - 0.05, 60 / tempo_bpm)


def drifting_beats(from_bpm: float, to_bpm: float, duration_s: float, start_s: float) -> Times:
    """Times of beats whose tempo changes linearly in time."""
    times = [start_s]
    while times[-1] < duration_s - 0.05:
        tempo = from_bpm + (to_bpm - from_bpm) * times[-1] / duration_s
        times.append(times[-1] + 60 / tempo)
    return np.array(times[:-1])


def step_times(beats: Times, steps_per_beat: int, swing: float = 0.5) -> Times:
    """Times of the steps; with `swing` the odd eighths are late, at this share of the beat."""
    ends = np.append(beats, 2 * beats[-1] - beats[-2])
    shares = np.arange(steps_per_beat) / steps_per_beat
    half = shares < 0.5
    shares = np.where(half, shares * 2 * swing, swing + (shares - 0.5) * 2 * (1 - swing))
    return (ends[:-1, None] + shares * np.diff(ends)[:, None]).ravel()


def add(mix: npt.NDArray[np.float64], note: npt.NDArray[np.float64], start_s: float) -> None:
    start = round(start_s * SAMPLE_RATE)
    note = note[: max(0, mix.size - start)]
    mix[start : start + note.size] += note


def drum_track(
    pattern: Mapping[str, str],
    beats: Times,
    duration_s: float,
    *,
    swing: float = 0.5,
    seed: int = 0,
    sample_rate: int = SAMPLE_RATE,
) -> Waveform:
    """(1, samples): the pattern, four steps per beat, repeated from the first beat on."""
    rng = np.random.default_rng(seed)
    mix = np.zeros(round(duration_s * SAMPLE_RATE))
    times = step_times(beats, 4, swing)
    for name, steps in pattern.items():
        drum = getattr(drums, name)
        for index, time in enumerate(times):
            level = _LEVELS[steps[index % len(steps)]]
            if level:
                level *= 10 ** (rng.standard_normal() / 20)
                add(mix, level * drum(0.0, 0.2, rng), time)
    return finished(mix, sample_rate)


def clicks(beats: Times, duration_s: float, sample_rate: int = SAMPLE_RATE) -> Waveform:
    """(1, samples): a burst of noise of 7 ms at each beat."""
    rng = np.random.default_rng(7)
    mix = np.zeros(round(duration_s * SAMPLE_RATE))
    for time in beats:
        add(mix, rng.standard_normal(2000) * np.exp(-np.arange(2000) / 300), time)
    return finished(mix, sample_rate)


def chords(
    key: Key,
    progression: Sequence[int],
    beats: Times,
    duration_s: float,
    *,
    beats_per_chord: int = 4,
    sample_rate: int = SAMPLE_RATE,
) -> Waveform:
    """(1, samples): triads on the scale degrees, each with its bass note."""
    rng = np.random.default_rng(3)
    mix = np.zeros(round(duration_s * SAMPLE_RATE))
    ends = np.append(beats, 2 * beats[-1] - beats[-2])
    for index, first in enumerate(range(0, beats.size, beats_per_chord)):
        last = min(first + beats_per_chord, beats.size)
        length_s = ends[last] - ends[first]
        root = progression[index % len(progression)]
        for degree in (0, 2, 4):
            note = instruments.electric_piano(key.frequency_hz(root + degree, 4), length_s, rng)
            add(mix, 0.4 * note, beats[first])
        bass = instruments.synth_bass(key.frequency_hz(root, 2), length_s, rng)
        add(mix, 0.6 * bass, beats[first])
    return finished(mix, sample_rate)


def finished(mix: npt.NDArray[np.float64], sample_rate: int) -> Waveform:
    """(1, samples) at the sample rate, with a peak of 0.7."""
    waveform = (0.7 * mix / np.abs(mix).max())[None].astype(np.float32)
    return resample(waveform, SAMPLE_RATE, sample_rate)


def distances_s(found: Times, true: Times) -> Times:
    """For each true beat, the distance to the nearest one found."""
    return np.abs(found[None] - true[:, None]).min(axis=1)
