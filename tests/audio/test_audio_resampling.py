"""Resampling, compared with torchaudio's resampler with the same filter."""

import math

import numpy as np
import pytest
import torch
import torchaudio

from riffusion.audio import resample
from tests.audio.audio_signals import chord, noise, snr_db

MAX_DIFFERENCE = 1e-6  # of full scale: float32 weights, samples and sums
MAX_SHARE_OF_OTHER_SAMPLES = 0.005  # of the 16-bit samples, where that crosses a boundary
RATIOS = [
    (48_000, 44_100),
    (44_100, 48_000),
    (44_100, 22_050),
    (22_050, 44_100),
    (32_000, 44_100),
    (8_000, 44_100),
    (44_100, 44_000),
    (44_100, 352_800),
    (384_000, 1_000),
    (1_000, 384_000),
]


def torchaudios(waveform: np.ndarray, from_hz: int, to_hz: int) -> np.ndarray:
    """In float64; with float32, torchaudio also rounds the times at which the filter is sampled."""
    resampled = torchaudio.functional.resample(
        torch.from_numpy(waveform).double(),
        from_hz,
        to_hz,
        lowpass_filter_width=64,
        rolloff=0.9475937167399596,
        resampling_method="sinc_interp_kaiser",
        beta=14.769656459379492,
    )
    return resampled.numpy()


@pytest.mark.parametrize(("from_hz", "to_hz"), RATIOS)
@pytest.mark.parametrize("channels", [1, 3])
def test_samples_equal_torchaudios(from_hz: int, to_hz: int, channels: int) -> None:
    length = from_hz // 3 + 7
    waveform = chord(length, from_hz, channels) + noise(length, channels)
    actual = resample(waveform, from_hz, to_hz)
    expected = torchaudios(waveform, from_hz, to_hz)[:, : actual.shape[1]]
    assert actual.shape == expected.shape
    assert actual.dtype == np.float32
    assert np.abs(actual - expected).max() <= MAX_DIFFERENCE
    steps = np.abs(np.rint(actual * 32768) - np.rint(expected * 32768))
    assert steps.max() <= 1
    assert (steps > 0).mean() <= MAX_SHARE_OF_OTHER_SAMPLES


@pytest.mark.parametrize(("from_hz", "to_hz"), RATIOS)
def test_an_impulse_keeps_its_time_at_any_position(from_hz: int, to_hz: int) -> None:
    """A slow pulse, sampled at either rate, wherever blocks of the resampler begin."""
    slowest = min(from_hz, to_hz)
    for centre_s in (0.1, 0.1 + 1 / 3 / from_hz, 0.25):
        before, after = (
            np.exp(-0.5 * ((np.arange(rate // 2) / rate - centre_s) * slowest / 4) ** 2)
            for rate in (from_hz, to_hz)
        )
        actual = resample(before[None], from_hz, to_hz)
        assert snr_db(after[None, : actual.shape[1]], actual) > 90  # 15 bits


@pytest.mark.parametrize("from_hz", [8_000, 44_100, 48_000])
def test_every_short_length_has_its_samples(from_hz: int) -> None:
    for length in (*range(1, 100), *range(100, 400, 7)):
        waveform = noise(length)
        actual = resample(waveform, from_hz, 44_000)
        expected = torchaudios(waveform, from_hz, 44_000)
        count = max(1, round(length * 44_000 / from_hz))
        assert actual.shape == (1, count)
        assert np.abs(actual - expected[:, :count]).max() <= MAX_DIFFERENCE


def test_a_tensor_is_resampled_as_its_array() -> None:
    waveform = chord(5000, 44_100, 2)
    expected = resample(waveform, 44_100, 48_000)
    tensor = torch.from_numpy(waveform).double().requires_grad_()
    assert np.array_equal(resample(tensor, 44_100, 48_000), expected)
    assert np.array_equal(resample(np.asfortranarray(waveform), 44_100, 48_000), expected)


def test_an_input_affects_only_outputs_nearby() -> None:
    waveform = np.zeros((1, 200_000), np.float32)
    waveform[0, 100_000] = 1
    resampled = resample(waveform, 44_100, 48_000)
    reach = math.ceil(64 / 0.9475) + 2
    middle = round(100_000 * 48_000 / 44_100)
    assert resampled[0, middle - 1 : middle + 2].max() > 0.5
    assert np.abs(resampled[0, : middle - 2 * reach]).max() < 1e-15
    assert np.abs(resampled[0, middle + 2 * reach :]).max() < 1e-15
