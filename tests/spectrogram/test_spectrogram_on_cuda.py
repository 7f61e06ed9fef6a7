"""Audio of images, and images of audio, on an emulated CUDA device."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from riffusion.spectrogram.converter import SpectrogramConverter
from riffusion.spectrogram.inversion.inverter import MelInverter
from riffusion.spectrogram.params import SpectrogramParams
from riffusion.spectrogram.torch_operations import TorchOperations
from tests.runtime import emulated_cuda
from tests.runtime.emulated_cuda import Device

PARAMS = SpectrogramParams(num_frequencies=64, num_griffin_lim_iters=4)
MAX_ERROR_DB = -60.0
"""Largest relative difference to the waveform on the CPU: float32 sums in another order."""
MAX_WAITS = 8
"""Per clip: the amplitudes, their range, and constants; not a wait per pass."""


@pytest.fixture
def cuda() -> Iterator[Device]:
    with pytest.MonkeyPatch.context() as patch, emulated_cuda.install(patch) as device:
        yield device


def test_a_waveform_on_cuda_is_that_of_the_cpu(cuda: Device) -> None:
    rng = np.random.default_rng(0)
    amplitudes = torch.from_numpy(rng.random((1, 64, 40), dtype=np.float32) ** 4)
    expected = MelInverter(PARAMS).waveform_from_mel_amplitudes(amplitudes)
    inverter = MelInverter(PARAMS, TorchOperations(torch.device("cuda:0")))
    inverter.waveform_from_mel_amplitudes(amplitudes)
    cuda.clear()
    actual = inverter.waveform_from_mel_amplitudes(amplitudes).cpu()
    error = (actual - expected).square().mean() / expected.square().mean()
    assert 10 * torch.log10(error) < MAX_ERROR_DB
    assert cuda.num_waits <= MAX_WAITS, cuda.waits


def test_amplitudes_of_audio_on_cuda_are_those_of_the_cpu(cuda: Device) -> None:
    params = SpectrogramParams()
    waveform = np.random.default_rng(0).standard_normal((2, 20_000), dtype=np.float32)
    expected = SpectrogramConverter(params, "cpu").spectrogram_from_waveform(waveform)
    converter = SpectrogramConverter(params, "cuda:0")
    assert converter.device.type == "cuda"
    cuda.clear()
    actual = converter.spectrogram_from_waveform(waveform)
    assert cuda.num_operations > 0
    error = np.square(actual - expected).mean() / np.square(expected).mean()
    assert 10 * np.log10(error) < MAX_ERROR_DB
