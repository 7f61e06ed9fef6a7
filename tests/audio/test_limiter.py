"""The limiter's gains: bounds at every sample, seams of loops, and what can't be reached."""

import numpy as np
import pytest

from riffusion.audio import measure_loudness
from riffusion.audio.limiter import Limiter, running_maximum
from riffusion.audio.loudness_meter import gated_loudness, weighted_powers
from tests.audio.audio_signals import drums

CEILING_DB = -1.1
CEILING = 10 ** (CEILING_DB / 20)
FLOAT32_ERROR = 1e-6


def spiky(num_samples: int, seed: int) -> np.ndarray:
    """Noise whose level changes by 60 dB, (1, samples)."""
    rng = np.random.default_rng(seed)
    levels = 10 ** (-3 * np.repeat(rng.random(num_samples // 50 + 1), 50)[:num_samples])
    return (levels * rng.standard_normal((1, num_samples))).astype(np.float32)


@pytest.mark.parametrize("width", [1, 2, 3, 7, 8, 441, 500])
def test_running_maximum_is_that_of_each_window(width: int) -> None:
    values = np.random.default_rng(0).random(500)
    expected = [values[start : start + width].max() for start in range(500 - width + 1)]
    assert np.array_equal(running_maximum(values, width), expected)


@pytest.mark.parametrize("circular", [False, True])
@pytest.mark.parametrize("sample_rate", [100, 8000, 11_025, 44_100, 48_000, 96_000])
@pytest.mark.parametrize("num_samples", [1, 2, 3, 57, 1000, 30_011])
def test_no_sample_is_above_the_ceiling(num_samples: int, sample_rate: int, circular: bool) -> None:
    waveform = spiky(num_samples, sample_rate + num_samples)
    peaks = np.abs(waveform[0]).astype(np.float64)
    limiter = Limiter(peaks, peaks**2, sample_rate, CEILING_DB, circular)
    for target_lufs in (-30.0, -14.0, 0.0):
        gains, _ = limiter.gains(target_lufs)
        assert (gains > 0).all()
        result = limiter.applied(gains, waveform)
        assert result.shape == waveform.shape
        assert np.abs(result).max() <= CEILING * (1 + FLOAT32_ERROR)
        if circular:
            assert gains[0] == pytest.approx(gains[-1])


@pytest.mark.parametrize("circular", [False, True])
def test_a_loop_may_start_anywhere(circular: bool) -> None:
    waveform = spiky(4 * 3000, 0)
    moved = np.roll(waveform, 4 * 1000)
    found = []
    for clip in (waveform, moved):
        peaks = np.abs(clip[0]).astype(np.float64)
        powers = np.full(len(peaks), np.mean(peaks**2))
        gains, _ = Limiter(peaks, powers, 40_000, CEILING_DB, circular).gains(-8.0)
        found.append(gains[:-1])
    are_equal = np.allclose(np.roll(found[0], 1000), found[1], rtol=0.02)
    assert are_equal == circular


def test_the_predicted_loudness_is_about_that_of_the_meter() -> None:
    waveform = drums(5.12, 44_100)
    peaks = np.abs(waveform[0]).astype(np.float64)
    powers = weighted_powers(waveform.astype(np.float64), 44_100)
    limiter = Limiter(peaks, powers, 44_100, CEILING_DB, circular=False)
    gains, is_reached = limiter.gains(-14.0)
    assert is_reached
    assert measure_loudness(limiter.applied(gains, waveform), 44_100) == pytest.approx(-14, abs=0.2)


def test_what_would_take_more_than_12_db_is_not_reached() -> None:
    powers = np.full(44_100, 1e-4)
    peaks = np.full(44_100, 1e-2)
    peaks[20_000] = 1.0
    limiter = Limiter(peaks, powers, 44_100, CEILING_DB, circular=False)
    loudness = gated_loudness(powers, 44_100)
    gains, is_reached = limiter.gains(loudness + 10)
    assert is_reached
    assert 10 ** (10 / 20) <= gains.max() <= CEILING * 10 ** (12 / 20)
    gains, is_reached = limiter.gains(loudness + 11)
    assert not is_reached
    assert gains.min() == pytest.approx(CEILING, rel=1e-6)
    assert gains.max() == pytest.approx(CEILING * 10 ** (12 / 20), rel=1e-6)


def test_where_nothing_is_above_the_ceiling_it_is_one_gain() -> None:
    waveform = 0.01 * spiky(44_100, 1)
    peaks = np.abs(waveform[0]).astype(np.float64)
    powers = weighted_powers(waveform.astype(np.float64), 44_100)
    loudness = gated_loudness(powers, 44_100)
    limiter = Limiter(peaks, powers, 44_100, CEILING_DB, circular=False)
    gains, is_reached = limiter.gains(loudness + 6)
    assert is_reached
    assert gains == pytest.approx(10 ** (6 / 20), rel=1e-3)
    assert np.ptp(gains) == 0


def test_what_is_below_the_meters_gate_stays_as_it_is() -> None:
    powers = np.full(44_100, 1e-9)
    limiter = Limiter(np.full(44_100, 1e-4), powers, 44_100, CEILING_DB, circular=False)
    gains, is_reached = limiter.gains(-14.0)
    assert not is_reached
    assert (gains == 1).all()
