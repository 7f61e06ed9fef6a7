"""A band of frequencies: what passes, where it stays, and that parts give what the whole gives."""

import itertools

import numpy as np
import pytest

from riffusion.audio.filtering import band_kernel, filtered

RATE = 22_050
EDGE_HZ = 10.0
"""Distance from an edge at which a tone has passed, or is gone."""
PASSED, GONE = 0.01, 2e-3
"""Largest error of a tone's level, and largest level of what is gone."""
BANDS = [(None, None), (None, 800.0), (800.0, None), (300.0, 2_000.0), (0.0, 800.0), (300.0, 2e4)]


@pytest.mark.parametrize(("low_hz", "high_hz"), BANDS)
def test_tones_pass_inside_the_band_alone(low_hz: float | None, high_hz: float | None) -> None:
    kernel = band_kernel(low_hz, high_hz, RATE)
    hz = np.arange(20, 11_000, 7)
    turns = np.outer(2 * np.pi * hz / RATE, np.arange(len(kernel)) - len(kernel) // 2)
    levels = np.cos(turns) @ kernel
    low, high = low_hz or -EDGE_HZ, high_hz or RATE
    inside = (hz > low + EDGE_HZ) & (hz < high - EDGE_HZ)
    outside = (hz < low - EDGE_HZ) | (hz > high + EDGE_HZ)
    assert np.abs(levels[inside] - 1).max() < PASSED
    assert np.abs(levels[outside]).max(initial=0) < GONE


@pytest.mark.parametrize("length", [1, 900, 2_205, 20_000])
@pytest.mark.parametrize("num_cuts", [0, 1, 7])
def test_parts_give_what_the_whole_gives(length: int, num_cuts: int) -> None:
    rng = np.random.default_rng(length)
    sound = rng.standard_normal((2, length)).astype(np.float32)
    kernel = band_kernel(300, 2_000, RATE)
    cuts = [0, *np.sort(rng.integers(0, length + 1, num_cuts)), length]
    parts = [sound[:, start:stop] for start, stop in itertools.pairwise(cuts)]
    found = np.concatenate(list(filtered(parts, kernel)), axis=1)
    half = len(kernel) // 2
    wanted = [np.convolve(channel, kernel)[half : half + length] for channel in sound]
    assert found.shape == sound.shape
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_nothing_gives_nothing() -> None:
    assert list(filtered([], band_kernel(300, None, RATE))) == []
