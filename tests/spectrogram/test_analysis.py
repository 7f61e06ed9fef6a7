"""The fast mel amplitudes, compared with torchaudio's modules, and tones above the bands."""

import dataclasses

import pytest
import torch
import torchaudio

from riffusion.spectrogram.analysis import MelAnalysis
from riffusion.spectrogram.converter import SpectrogramConverter
from riffusion.spectrogram.filterbank import mel_filterbank
from riffusion.spectrogram.params import SpectrogramParams
from riffusion.spectrogram.torch_operations import TorchOperations

MAX_RELATIVE_ERROR = 1e-6  # of the loudest amplitude: float32 sums in another order
MAX_DIFFERENCE_OF_BANDS = 2e-5  # the same, where PyTorch rounds a band's edge the other way
MAX_ALIAS_DB = -110.0  # level of a full-scale tone after a lowpass filter of 140 dB, in float32
PARAMS = SpectrogramParams()


@pytest.mark.parametrize(
    "changes",  # decimation by 2, 4, 1, 2, 1, 2, 2, 2 and 7
    [
        {},
        {"max_frequency": 4000},
        {"max_frequency": 20_000},
        {"sample_rate": 48_000, "step_size_ms": 7},
        {"sample_rate": 22_050, "mel_scale_norm": "slaney", "mel_scale_type": "slaney"},
        {"sample_rate": 22_050, "max_frequency": 4000},
        {"window_duration_ms": 400},
        {"min_frequency": 8000, "num_frequencies": 40},
        {"max_frequency": 50, "num_frequencies": 8, "padded_duration_ms": 100},
    ],
)
def test_amplitudes_equal_torchaudios(changes: dict[str, object]) -> None:
    params = dataclasses.replace(PARAMS, **changes)
    noise = torch.randn(1, 30_011, generator=torch.Generator().manual_seed(0))
    spectrogram = torchaudio.transforms.Spectrogram(
        n_fft=params.n_fft, win_length=params.win_length, hop_length=params.hop_length, power=1.0
    )
    filterbank = torchaudio.functional.melscale_fbanks(
        params.n_fft // 2 + 1,
        params.min_frequency,
        params.max_frequency,
        params.num_frequencies,
        params.sample_rate,
        params.mel_scale_norm,
        params.mel_scale_type,
    )
    expected = (spectrogram(noise).mT @ filterbank).mT
    actual = SpectrogramConverter(params, "cpu").mel_amplitudes_from_waveform(noise)
    assert actual.shape == expected.shape
    assert (actual - expected).abs().max() <= MAX_DIFFERENCE_OF_BANDS * expected.max()
    expected = (spectrogram(noise).mT @ torch.from_numpy(mel_filterbank(params))).mT
    assert (actual - expected).abs().max() <= MAX_RELATIVE_ERROR * expected.max()
    on_torch = MelAnalysis(params, TorchOperations(torch.device("cpu")))(noise)
    assert (on_torch - actual).abs().max() <= MAX_RELATIVE_ERROR * expected.max()


@pytest.mark.parametrize("frequency_hz", [12_100, 14_000, 18_000, 21_900])
def test_a_tone_above_the_bands_has_no_alias_in_them(frequency_hz: float) -> None:
    converter = SpectrogramConverter(PARAMS, "cpu")

    def loudest(hz: float) -> torch.Tensor:
        # A whole number of periods in every window, with a fade that prevents clicks at the ends.
        t = torch.arange(44_100, dtype=torch.float64) / 44_100
        wave = torch.sin(2 * torch.pi * hz * t) * torch.hann_window(44_100, dtype=torch.float64)
        return converter.mel_amplitudes_from_waveform(wave.float()[None])[..., 30:70].max()

    alias_db = 20 * torch.log10(loudest(frequency_hz) / loudest(9000))
    assert alias_db <= MAX_ALIAS_DB


def test_amplitudes_have_a_gradient() -> None:
    noise = torch.randn(1, 10_000, generator=torch.Generator().manual_seed(0), requires_grad=True)
    SpectrogramConverter(PARAMS, "cpu").mel_amplitudes_from_waveform(noise).sum().backward()
    assert noise.grad is not None
    assert noise.grad.abs().max() > 0
