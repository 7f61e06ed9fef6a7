"""The loudness of mel amplitudes is about that of the sound."""

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import scipy.signal

from riffusion.audio.loudness import measure_loudness
from riffusion.editing.mel_loudness import MelLoudness
from riffusion.spectrogram.converter import SpectrogramConverter
from riffusion.spectrogram.params import SpectrogramParams

TOLERANCE_LU = 1.6
"""The mean of a band's magnitudes isn't their root mean square: up to 1.05 dB in noise."""
SECONDS = 3


def _harmonics(rate: int, *fundamentals_hz: float) -> npt.NDArray[np.float64]:
    t = np.arange(SECONDS * rate) / rate
    sawtooth = np.zeros_like(t)
    for hz in fundamentals_hz:
        for k in range(1, int(9000 / hz)):
            sawtooth += np.sin(2 * np.pi * hz * k * t) / k
    return 0.1 * sawtooth


def _tone(rate: int, hz: float) -> npt.NDArray[np.float64]:
    return 0.2 * np.sin(2 * np.pi * hz * np.arange(SECONDS * rate) / rate)


def _noise(rate: int, highest_hz: float) -> npt.NDArray[np.float64]:
    white = np.random.default_rng(0).normal(0, 0.1, SECONDS * rate)
    lowpass = scipy.signal.butter(6, highest_hz, fs=rate, output="sos")
    return np.asarray(scipy.signal.sosfilt(lowpass, white))


SOUNDS = {
    "bass": lambda rate: _tone(rate, 55),
    "tone": lambda rate: _tone(rate, 440),
    "high tone": lambda rate: _tone(rate, 2000),
    "low string": lambda rate: _harmonics(rate, 41.2),
    "chord": lambda rate: _harmonics(rate, 220, 277.2, 329.6),
    "noise": lambda rate: _noise(rate, 9000),
    "rumble": lambda rate: _noise(rate, 120),
}


@pytest.mark.parametrize("sound", SOUNDS)
@pytest.mark.parametrize(
    "settings",
    [{}, {"mel_scale_norm": "slaney", "mel_scale_type": "slaney"}, {"sample_rate": 24000}],
    ids=["usual", "slaney", "24 kHz"],
)
def test_it_is_that_of_the_sound(sound: str, settings: dict[str, Any]) -> None:
    params = SpectrogramParams(**settings)
    waveform = SOUNDS[sound](params.sample_rate)[None].astype(np.float32)
    amplitudes = SpectrogramConverter(params, device="cpu").spectrogram_from_waveform(waveform)[0]
    found = MelLoudness(params).lufs(amplitudes)
    assert found == pytest.approx(measure_loudness(waveform, params.sample_rate), abs=TOLERANCE_LU)


def test_bands_add_up() -> None:
    params = SpectrogramParams()
    amplitudes = np.random.default_rng(0).random((params.num_frequencies, 8), np.float32)
    low = np.arange(params.num_frequencies) < 100
    powers = [10 ** (MelLoudness(params, bands).lufs(amplitudes) / 10) for bands in (low, ~low)]
    whole = MelLoudness(params).lufs(amplitudes)
    assert 10 * math.log10(sum(powers)) == pytest.approx(whole)


def test_silence_has_none() -> None:
    params = SpectrogramParams()
    assert MelLoudness(params).lufs(np.zeros((512, 3), np.float32)) == -math.inf
