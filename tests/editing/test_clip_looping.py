"""Clips looped on their beats: whole bars, exact repetitions, no break at the seam."""

import numpy as np
import pytest

from riffusion.audio import Audio
from riffusion.editing.clip_looping import loop_it
from riffusion.editing.looping import seam_novelty
from riffusion.errors import InputError
from tests.editing.signals import ROCK, SAMPLE_RATE, drum_track, steady_beats

TEMPO_TOLERANCE = 0.005


@pytest.mark.parametrize(("tempo_bpm", "beats"), [(120.0, 8), (100.0, 8)])
def test_a_clip_is_repeated_in_whole_bars(tempo_bpm: float, beats: int) -> None:
    drums = drum_track(ROCK, steady_beats(tempo_bpm, 5.9, 0.1), 5.9)
    looped = loop_it(Audio(drums, SAMPLE_RATE), 3)
    length = looped.num_samples // 3
    once = looped.waveform[:, :length]
    assert looped.sample_rate == SAMPLE_RATE
    assert np.array_equal(looped.waveform, np.tile(once, 3))
    assert length / SAMPLE_RATE == pytest.approx(beats * 60 / tempo_bpm, rel=TEMPO_TOLERANCE)
    assert seam_novelty(once, SAMPLE_RATE) <= 1.1


def test_what_has_no_beat_and_too_many_repetitions_are_refused() -> None:
    silence = Audio(np.zeros((1, 6 * SAMPLE_RATE), np.float32), SAMPLE_RATE)
    with pytest.raises(InputError, match="silent, so it has no tempo"):
        loop_it(silence)
    for times in (0, 1001):
        with pytest.raises(InputError, match=f"times: {times} must be from 1 to 1000"):
            loop_it(silence, times)
