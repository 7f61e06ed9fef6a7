"""New sound is as loud as what it replaces, along the way."""

import numpy as np
import pytest

from riffusion.editing.dynamics import Dynamics, FloatArray
from riffusion.editing.mel_loudness import MelLoudness
from riffusion.editing.rendering import Target
from riffusion.spectrogram.params import SpectrogramParams

PARAMS = SpectrogramParams()
FRAMES = 2000
STRETCH = 256
MUSIC = 4e5
"""Amplitudes of noise at about -33 LUFS."""
DITHER = 4e1
"""Those of noise at about -113 LUFS."""


def of(amplitudes: FloatArray) -> Target:
    return lambda first, num_frames: amplitudes[:, first : first + num_frames]


def noise(seed: int = 0) -> FloatArray:
    bands = np.random.default_rng(seed).random((PARAMS.num_frequencies, FRAMES), np.float32)
    return MUSIC * bands


def gains(
    recording: FloatArray, made: FloatArray, first: int = 0, last: int = FRAMES
) -> FloatArray:
    return Dynamics(PARAMS, of(recording), of(made), first, last).gains(first, last - first)


@pytest.mark.parametrize("level", [0.3, 0.8, 1.0, 2.5])
@pytest.mark.parametrize(("first", "last"), [(0, FRAMES), (300, 1700), (700, 720), (5, 6)])
def test_sound_at_another_level_gets_the_recordings(level: float, first: int, last: int) -> None:
    found = gains(noise(), noise() * level, first, last)
    np.testing.assert_allclose(found, 1 / level, rtol=1e-4)


def test_a_quiet_verse_stays_quiet() -> None:
    verse = slice(0, FRAMES // 2)
    recording, made = noise(), noise(1)
    recording[:, verse] *= 0.3
    found = gains(recording, made)
    assert found[: FRAMES // 2 - 2 * STRETCH] == pytest.approx(0.3, rel=0.02)
    assert found[FRAMES // 2 + 2 * STRETCH :] == pytest.approx(1, rel=0.02)
    assert np.abs(np.diff(20 * np.log10(found))).max() < 0.1  # dB per frame: nothing jumps


def test_of_a_band_only_the_band_is_compared() -> None:
    bands = np.arange(PARAMS.num_frequencies) < 200
    made = noise()
    made[bands] *= 0.5
    made[~bands] *= 3
    dynamics = Dynamics(PARAMS, of(noise()), of(made), 0, FRAMES, bands)
    np.testing.assert_allclose(dynamics.gains(0, FRAMES), 2, rtol=1e-4)


def test_silence_and_what_is_nearly_silent_are_not_raised() -> None:
    recording, made = noise(), noise(1)
    made[:, :1000] = 0
    made[:, 1000:] *= 0.1
    found = gains(recording, made)
    assert found[:600] == pytest.approx(1)
    assert found[1400:] == pytest.approx(10 ** (12 / 20), rel=1e-4)
    assert gains(0 * recording, made) == pytest.approx(1)
    assert gains(recording, 1e-4 * made) == pytest.approx(1)


def at_lufs(amplitudes: FloatArray, lufs: float) -> FloatArray:
    gain_db = lufs - MelLoudness(PARAMS).lufs(amplitudes)
    return np.asarray(amplitudes * np.float32(10 ** (gain_db / 20)), np.float32)


@pytest.mark.parametrize("silence", [0.0, DITHER / MUSIC])
def test_in_silence_loud_sound_gets_quieter(silence: float) -> None:
    recording, made = noise() * np.float32(silence), at_lufs(noise(), -15)
    assert gains(recording, made) == pytest.approx(10 ** (-8 / 20), rel=0.02)


@pytest.mark.parametrize("silence", [0.0, DITHER / MUSIC])
@pytest.mark.parametrize("made_lufs", [-15, -30])
def test_in_a_gap_new_sound_is_as_loud_as_what_is_beside_it(
    silence: float, made_lufs: float
) -> None:
    """Also if the gap has the end of what is before it, and if one side is silent."""
    recording, made = at_lufs(noise(1), -24), at_lufs(noise(), made_lufs)
    recording[:, 510:] *= np.float32(silence)
    around = Dynamics(PARAMS, of(recording), of(made), 500, 1500, around=(372, 1628))
    found = around.gains(500, 1000)
    assert found == pytest.approx(10 ** ((-24 - made_lufs) / 20), rel=0.05)


def test_new_sound_in_a_silent_recording_has_a_usual_loudness() -> None:
    made = at_lufs(noise(), -30)
    dynamics = Dynamics(PARAMS, of(0 * noise()), of(made), 500, 1500, around=(372, 1628))
    assert dynamics.gains(500, 1000) == pytest.approx(10 ** (7 / 20), rel=0.05)


@pytest.mark.parametrize("silence", [0.0, DITHER / MUSIC])
@pytest.mark.parametrize("at_the_start", [True, False])
def test_silence_has_no_gain_before_loud_sound_and_after_it(
    at_the_start: bool, silence: float
) -> None:
    recording = noise()
    recording[:, slice(0, 1000) if at_the_start else slice(1000, None)] *= silence
    found = gains(recording, 0.5 * noise())
    if not at_the_start:
        found = found[::-1]
    assert found[: 1000 - 2 * STRETCH] == pytest.approx(1)
    assert found[1000 + 2 * STRETCH :] == pytest.approx(2, rel=1e-4)


@pytest.mark.parametrize("last", [STRETCH + 1, 2 * STRETCH + 3, FRAMES])
def test_the_last_moment_alone_decides_nothing(last: int) -> None:
    """A section is longer than some stretches by a moment, in which the new sound fades out."""
    made = noise()
    made[:, last - 3 : last] *= 0.05
    assert gains(noise(), made, 0, last) == pytest.approx(1, rel=0.02)


def test_parts_get_the_gains_of_the_whole() -> None:
    recording, made = noise() * np.linspace(0.2, 1, FRAMES, dtype=np.float32), noise(1)
    whole = gains(recording, made)
    dynamics = Dynamics(PARAMS, of(recording), of(made), 0, FRAMES)
    parts = [dynamics.gains(first, min(333, FRAMES - first)) for first in range(0, FRAMES, 333)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    dynamics = Dynamics(PARAMS, of(recording), of(made), 0, FRAMES)
    parts = [dynamics.gains(first, 250) for first in range(FRAMES - 250, -1, -250)]
    np.testing.assert_array_equal(np.concatenate(parts[::-1]), whole)
