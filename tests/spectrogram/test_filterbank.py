"""The mel filterbank, compared with torchaudio's, and the images of both chains."""

import dataclasses
import warnings

import numpy as np
import pytest
import torch
import torchaudio
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.signals import SIGNALS
from riffusion.loops.seed_images import make_seed_image
from riffusion.spectrogram.converter import FULL_SCALE, SpectrogramConverter
from riffusion.spectrogram.filterbank import band_groups, mel_filterbank
from riffusion.spectrogram.image import image_from_spectrogram
from riffusion.spectrogram.params import SpectrogramParams

PARAMS = SpectrogramParams()
MAX_WEIGHT_ERROR = 1e-3  # of the largest; the last bit of an edge, in bands only 1 Hz wide
MAX_SHARE_OF_OTHER_PIXELS = 5e-3  # beside pure tones, where only rounding is; of music, 5e-5


def torchaudios(params: SpectrogramParams) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # about bands without weights
        weights = torchaudio.functional.melscale_fbanks(
            params.n_fft // 2 + 1,
            float(params.min_frequency),
            float(params.max_frequency),
            params.num_frequencies,
            params.sample_rate,
            params.mel_scale_norm,
            params.mel_scale_type,
        )
    return weights.numpy()


@given(
    sample_rate=st.sampled_from([8000, 22_050, 22_051, 44_100, 48_000, 96_000]),
    padded_duration_ms=st.sampled_from([100, 250, 400]),
    num_frequencies=st.sampled_from([1, 2, 31, 32, 33, 64, 512]),
    min_frequency=st.sampled_from([0, 20, 999, 1000, 1001, 3000]),
    max_frequency=st.sampled_from([3500, 10_000, 20_000, 60_000]),
    mel_scale_type=st.sampled_from(["htk", "slaney"]),
    mel_scale_norm=st.sampled_from([None, "slaney"]),
)
@settings(max_examples=60, deadline=None)
def test_weights_equal_torchaudios(**fields: object) -> None:
    params = dataclasses.replace(PARAMS, **fields)
    actual, expected = mel_filterbank(params), torchaudios(params)
    assert actual.dtype == np.float32
    assert actual.shape == expected.shape
    assert np.array_equal(actual > 0, expected > 0)
    assert np.abs(actual - expected).max() <= MAX_WEIGHT_ERROR * expected.max()


@pytest.mark.parametrize("size", [1, 7, 512, 1000])
def test_groups_of_any_size_are_the_same_filterbank(size: int) -> None:
    expected = mel_filterbank(PARAMS)
    first = 0
    for group in band_groups(PARAMS, size):
        end = first + group.weights.shape[1]
        whole = np.zeros((len(expected), end - first), np.float32)
        whole[group.bins] = group.weights
        assert np.array_equal(whole, expected[:, first:end])
        first = end
    assert first == PARAMS.num_frequencies


def clips(rate: int) -> dict[str, np.ndarray]:
    signals = {name: signal(rate, 1.5).numpy()[None] for name, signal in SIGNALS.items()}
    loops = {style: make_seed_image(style)[1] for style in ("motorway", "vibes")}
    return signals | {name: loop[:, : 2 * rate] for name, loop in loops.items()}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"min_frequency": 20, "max_frequency": 20_000},
        {"num_frequencies": 256, "mel_scale_type": "slaney", "mel_scale_norm": "slaney"},
    ],
)
def test_images_equal_torchaudios(changes: dict[str, object]) -> None:
    """torchaudio's modules draw the same images, except for pixels on the border of two levels."""
    params = dataclasses.replace(PARAMS, **changes)
    spectrogram = torchaudio.transforms.Spectrogram(
        n_fft=params.n_fft, win_length=params.win_length, hop_length=params.hop_length, power=1.0
    )
    filterbank = torch.from_numpy(torchaudios(params))
    for name, waveform in clips(params.sample_rate).items():
        actual = SpectrogramConverter(params).spectrogram_from_waveform(waveform)
        magnitudes = spectrogram(torch.from_numpy(waveform) * FULL_SCALE)
        expected = (magnitudes.mT @ filterbank).mT.numpy()[..., : actual.shape[-1]]
        images = [
            np.asarray(image_from_spectrogram(amplitudes, params.power_for_image)).astype(int)
            for amplitudes in (actual, expected)
        ]
        difference = np.abs(images[0] - images[1])
        assert difference.max() <= 1, name
        assert (difference > 0).mean() <= MAX_SHARE_OF_OTHER_PIXELS, name
