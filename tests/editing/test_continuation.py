"""A recording that goes on by its own repetitions, with their beat."""

from pathlib import Path

import numpy as np
import pytest

from riffusion.audio import Recording
from riffusion.editing.continuation import Continuation
from tests.editing.recordings import write

RATE = 8000


@pytest.mark.parametrize("period_s", [0.5, 0.50006, 0.731])
def test_a_beat_goes_on_both_ways(period_s: float, tmp_path: Path) -> None:
    beat_s = period_s / 4
    length, before, after = 2 * RATE + 13, 3 * RATE, 5 * RATE
    clicks = np.zeros((1, length), np.int32)
    clicks[0, np.round(np.arange(0.02, length / RATE - 0.02, beat_s) * RATE).astype(int)] = 2**30
    with Recording.open(write(tmp_path / "in.wav", clicks, RATE, 16)) as recording:
        longer = Continuation(recording, before, after, period_s)
        assert longer.num_samples == before + length + after
        found = longer.waveform(0, longer.num_samples)[0]
        own = recording.waveform(0, length)[0]
        assert np.array_equal(found[before : before + length], own)
        at_s = np.flatnonzero(found > 0.2) / RATE
        off = (at_s - 0.02 - before / RATE) / beat_s
        assert np.abs(off - np.rint(off)).max() * beat_s < 1.5 / RATE
        assert len(set(np.rint(off))) == len(off)
        expected = (before + length + after) / RATE / beat_s
        assert expected - 4 <= len(off) <= expected + 1
        for start, stop in ((0, 1), (before - 5, before + 5), (before + length - 3, 40_000)):
            assert np.array_equal(longer.waveform(start, stop)[0], found[start:stop])


def test_repetitions_meet_without_a_click(tmp_path: Path) -> None:
    times = np.arange(2 * RATE) / RATE
    tone = (np.sin(2 * np.pi * 200 * times) * 2**29).astype(np.int32)[None]
    with Recording.open(write(tmp_path / "in.wav", tone, RATE, 16)) as recording:
        found = Continuation(recording, RATE, 4 * RATE, 0.7513).waveform(0, 7 * RATE)[0]
    step = 2 * np.pi * 200 / RATE * 0.25  # the steepest that the tone itself gets
    joins = [RATE, 3 * RATE]  # with the recording itself, nothing is faded
    steps = np.abs(np.diff(found))
    for join in joins:
        steps[join - 2 : join + 2] = 0
    assert steps.max() < 1.5 * step
    assert np.abs(found).max() < 0.3
