"""Scores of an independent tagger, and harmonicity, on sounds whose answer is known."""

import functools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from riffusion.audio import Waveform
from riffusion.evaluation.disk_cache import DiskCache
from riffusion.evaluation.metrics.harmonicity import measure_harmonicity
from riffusion.evaluation.metrics.hearing import Clip, Listener
from riffusion.evaluation.metrics.listening import (
    COPIES,
    DRAWN,
    REAL,
    REFERENCE,
    score_listening,
    tag_of_label,
)
from riffusion.evaluation.tagger import Tagger

SAMPLE_RATE = 44_100
SECONDS = np.arange(3 * SAMPLE_RATE) / SAMPLE_RATE
Signal = npt.NDArray[np.float64]


def listener(cache: Path | None = None) -> Listener:
    return Listener(Tagger.load(), SAMPLE_RATE, DiskCache(cache))


def waveform(signal: Signal) -> Waveform:
    return (0.5 * signal / np.abs(signal).max())[None].astype(np.float32)


def tone(pitch_hz: float, partials: int = 12) -> Signal:
    """Harmonic partials with a common vibrato."""
    phase = np.cumsum(pitch_hz * (1 + 0.005 * np.sin(2 * np.pi * 5.5 * SECONDS))) / SAMPLE_RATE
    return sum((np.sin(2 * np.pi * k * phase) / k for k in range(1, partials + 1)), start=0 * phase)


def drifting(pitch_hz: float, rng: np.random.Generator) -> Signal:
    """The same partials, but each one drifts by itself."""
    total = 0 * SECONDS
    for k in range(1, 13):
        drift = 1 + 0.04 * np.sin(2 * np.pi * rng.uniform(0.3, 1) * SECONDS + rng.uniform(0, 6))
        total = total + np.sin(2 * np.pi * np.cumsum(k * pitch_hz * drift) / SAMPLE_RATE) / k
    return total


@pytest.mark.parametrize("pitch_hz", [110.0, 196.0, 440.0, 880.0])
def test_tones_are_harmonic(pitch_hz: float) -> None:
    found = measure_harmonicity(waveform(tone(pitch_hz)), SAMPLE_RATE)
    assert found.share > 0.95
    assert found.certainty > 0.7


@pytest.mark.parametrize("pitch_hz", [196.0, 440.0])
def test_partials_that_drift_are_less_harmonic(pitch_hz: float) -> None:
    drifted = waveform(drifting(pitch_hz, np.random.default_rng(0)))
    found = measure_harmonicity(drifted, SAMPLE_RATE)
    assert found.share < 0.85
    assert found.certainty < 0.6


def test_noise_has_no_certain_pitch() -> None:
    noise = np.random.default_rng(0).standard_normal(len(SECONDS))
    assert measure_harmonicity(waveform(noise), SAMPLE_RATE).certainty < 0.1


def test_silence_has_no_pitch() -> None:
    found = measure_harmonicity(np.zeros((1, SAMPLE_RATE), np.float32), SAMPLE_RATE)
    assert (found.share, found.certainty) == (0, 0)


@pytest.mark.parametrize(
    ("label", "tag"),
    [
        ("violin", "violin"),
        ("techno beat", "techno"),
        ("male vocal choir", "male vocal"),
        ("fiddle", "cello"),
        ("violins", "cello"),
    ],
)
def test_own_tag_is_in_the_name_or_the_most_particular(label: str, tag: str) -> None:
    tags = ("violin", "techno", "choir", "male vocal", "solo", "cello")
    top = np.array([[0, 0, 0, 0, 1, 1]] * 3 + [[0, 0, 0, 0, 1, 0]] * 3, dtype=bool)
    found = tag_of_label(label, tags, top, np.array([True] * 3 + [False] * 3))
    assert tags[found] == tag


def clips(label: str, make: Callable[[float], Signal], count: int, start: int) -> list[Clip]:
    pitches = 220 * 2 ** (np.arange(start, start + count) / 12)
    return [
        Clip(label, functools.partial(lambda pitch: waveform(make(pitch)), float(pitch)))
        for pitch in pitches
    ]


def test_drawn_clips_that_drift_score_worse_than_real_ones() -> None:
    rng = np.random.default_rng(1)

    def beats(pitch_hz: float) -> Signal:
        noise = rng.standard_normal(len(SECONDS))
        return noise * np.exp(-(SECONDS % (60 / pitch_hz)) * 40)

    def mixed(make: Callable[[float], Signal], start: int) -> list[Clip]:
        return clips("flute", make, 4, start) + clips("drums", beats, 4, start)

    sets = {
        REFERENCE: mixed(tone, 0),
        REAL: mixed(tone, 4),
        COPIES: mixed(tone, 4),
        DRAWN: mixed(lambda pitch: drifting(pitch, rng), 4),
    }
    told: list[tuple[int, int]] = []
    scores = score_listening(
        sets, listener(), ["flute"], lambda done, all_: told.append((done, all_))
    )
    assert told == [(n, 32) for n in range(1, 33)]
    assert scores.clips == 8
    assert scores.drawn_distance > 1.5 * scores.real_distance
    drums, flute = scores.labels
    assert (drums.name, drums.tag, drums.harmonicity) == ("drums", "drums", None)
    assert (flute.name, flute.tag) == ("flute", "flute")
    assert drums.real == drums.drawn == 1
    assert flute.harmonicity is not None
    real, drawn = flute.harmonicity[REAL], flute.harmonicity[DRAWN]
    assert flute.harmonicity[COPIES] == real
    assert real.share > 0.95 > drawn.share
    assert real.certainty > drawn.certainty + 0.2


def test_a_label_without_certain_pitch_is_not_melodic() -> None:
    noise = np.random.default_rng(0).standard_normal(len(SECONDS))
    one = [Clip("noise", lambda: waveform(noise)), Clip("hiss", lambda: waveform(noise))]
    sets = dict.fromkeys((REFERENCE, REAL, COPIES, DRAWN), one)
    scores = score_listening(sets, listener(), ["noise", "hiss"])
    assert [label.harmonicity for label in scores.labels] == [None, None]
