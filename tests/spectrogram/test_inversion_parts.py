"""The parts of the mel inversion: reduced transform, filterbank, initial phases."""

import numpy as np
import pytest
import torch
import torchaudio
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.signals import SIGNALS
from riffusion.spectrogram.inversion.ends import ReflectedEnds
from riffusion.spectrogram.inversion.filterbank import MelFilterbank
from riffusion.spectrogram.inversion.initial_phase import PeakPhases
from riffusion.spectrogram.inversion.reduced_stft import ReducedStft, StftFrames
from riffusion.spectrogram.operations import Array
from riffusion.spectrogram.params import SpectrogramParams
from riffusion.spectrogram.torch_operations import TorchOperations

PARAMS = SpectrogramParams()
RATE = PARAMS.sample_rate
TORCH = TorchOperations(torch.device("cpu"))
REFLECTED = ReflectedEnds()

MAX_ROUND_TRIP_ERROR = 3e-4  # of the peak; NORM_FLOOR, added to a squared window of 1.1 on average
MAX_FULL_RATE_ERROR = 1e-3  # of the peak; side lobes of the window above the reduced rate
MAX_MEL_ERROR = 0.03  # relative, over all bands; interpolation between 5 Hz bins
MAX_TONE_PHASE_ERROR = 0.1  # rad, near a peak's bin; from the parabola's frequency error
MAX_CLICK_PHASE_SPREAD = 0.25  # cycles, over 5 kHz
SPARSE_PARAMS = SpectrogramParams(num_frequencies=64)


def spectrum_from_waveform(frames: StftFrames, waveform: Array) -> Array:
    return frames.spectrum(frames.windows_of(waveform))


def waveform_from_spectrum(frames: StftFrames, spectrum: Array) -> Array:
    return frames.waveform_from_spectra(lambda block: spectrum[block])


def peak_phases(magnitudes: Array, hop: int, window_length: int, n_fft: int) -> Array:
    return PeakPhases(magnitudes, hop, window_length, n_fft, TORCH)[:, :]


@pytest.fixture(scope="module")
def stft() -> ReducedStft:
    return ReducedStft(PARAMS, TORCH)


def uniform_weights(stft: ReducedStft, num_samples: int) -> torch.Tensor:
    return torch.ones(1, num_samples // stft.hop)


def test_default_rate_contains_10_khz_with_integer_lengths(stft: ReducedStft) -> None:
    assert (stft.hop, stft.window_length, stft.n_fft, stft.bin_hz) == (216, 2160, 4320, 5.0)


@given(
    rate=st.sampled_from([8000, 11_025, 22_050, 24_000, 44_100, 48_000, 88_200]),
    step_ms=st.integers(5, 40),
    window_ms=st.integers(50, 200),
    padding_ms=st.integers(0, 300),
    top_hz=st.integers(1000, 20_000),
)
@settings(max_examples=60, deadline=None)
def test_reduced_rate_keeps_the_time_of_every_frame(
    rate: int, step_ms: int, window_ms: int, padding_ms: int, top_hz: int
) -> None:
    params = SpectrogramParams(
        sample_rate=rate,
        step_size_ms=step_ms,
        window_duration_ms=window_ms,
        padded_duration_ms=window_ms + padding_ms,
        max_frequency=top_hz,
    )
    stft = ReducedStft(params, TORCH)
    assert stft.hop * params.win_length == stft.window_length * params.hop_length
    assert stft.n_fft * params.hop_length % stft.hop == 0
    assert stft.window_length <= stft.n_fft
    assert stft.bin_hz >= rate / params.n_fft * (1 - 1e-9)
    assert stft.bin_hz * (stft.n_fft / 2) >= min(top_hz, rate / 2) * (1 - 1e-9)


@pytest.mark.parametrize("first", [None, 0, 1, 2])
@pytest.mark.parametrize("frame_gain", [1.0, 100.0])
def test_waveform_is_restored_from_all_or_a_third_of_its_frames(
    stft: ReducedStft, first: int | None, frame_gain: float
) -> None:
    waveform = torch.randn(2, 60 * stft.hop, generator=torch.Generator().manual_seed(0))
    weights = 1 + frame_gain * torch.rand(2, 60, generator=torch.Generator().manual_seed(1))
    frames = stft.frames(
        weights, REFLECTED, slice(None) if first is None else slice(first, None, 3)
    )
    actual = waveform_from_spectrum(frames, spectrum_from_waveform(frames, waveform))
    error = (actual - waveform).abs().max() / waveform.abs().max()
    assert error <= MAX_ROUND_TRIP_ERROR * 20  # the norm of a third of the frames is smaller


def test_frames_equal_torch_stft(stft: ReducedStft) -> None:
    waveform = torch.randn(1, 40 * stft.hop, generator=torch.Generator().manual_seed(0))
    actual = spectrum_from_waveform(
        stft.frames(uniform_weights(stft, waveform.shape[1]), REFLECTED), waveform
    )
    oracle = torch.stft(
        waveform,
        stft.n_fft,
        stft.hop,
        stft.window_length,
        torch.hann_window(stft.window_length),
        return_complex=True,
    )[..., :40].mT
    assert (actual.abs() - oracle.abs()).abs().max() <= 1e-5 * oracle.abs().max()


def test_full_rate_waveform_is_the_same_tone(stft: ReducedStft) -> None:
    """A tone below half the reduced rate, sampled at both rates."""
    frequency_hz, rate = 1234.5, 21_600
    reduced = torch.cos(2 * np.pi * frequency_hz * torch.arange(rate, dtype=torch.float64) / rate)
    full = torch.cos(2 * np.pi * frequency_hz * torch.arange(44_100, dtype=torch.float64) / 44_100)
    weights = uniform_weights(stft, rate)
    spectrum = spectrum_from_waveform(stft.frames(weights, REFLECTED), reduced.float()[None])
    # The reduced transform sums over 2.04 times fewer samples.
    actual = stft.full_rate_waveform_from_spectra(spectrum.__getitem__, weights, REFLECTED)[0]
    actual *= 441 / stft.hop
    inner = slice(4410, -4410)  # without the ends, where the reflection doesn't continue the tone
    assert (actual[inner] - full[inner]).abs().max() <= MAX_FULL_RATE_ERROR


@pytest.mark.parametrize("name", SIGNALS)
def test_mel_amplitudes_of_short_and_long_fft_agree(name: str, stft: ReducedStft) -> None:
    waveform = SIGNALS[name](RATE, 1.0)
    expected = torchaudio.transforms.MelScale(512, RATE, 0, 10_000, PARAMS.n_fft // 2 + 1)(
        torchaudio.transforms.Spectrogram(PARAMS.n_fft, 4410, 441, power=1.0)(waveform)
    )
    short = torchaudio.transforms.Spectrogram(8820, 4410, 441, power=1.0)(waveform)
    filterbank = MelFilterbank(PARAMS, stft.bin_hz, stft.num_bins, TORCH)
    actual = filterbank.mel_from_magnitudes(short[: stft.num_bins].T).T
    assert (actual - expected).norm() <= MAX_MEL_ERROR * expected.norm()


@given(seed=st.integers(0, 2**31))
@settings(max_examples=25, deadline=None)
def test_gains_keep_magnitudes_positive_and_never_raise_the_divergence(seed: int) -> None:
    stft = ReducedStft(SPARSE_PARAMS, TORCH)
    filterbank = MelFilterbank(SPARSE_PARAMS, stft.bin_hz, stft.num_bins, TORCH)
    generator = torch.Generator().manual_seed(seed)
    target = torch.rand(3, 64, generator=generator) + 0.01
    magnitudes = torch.rand(3, stft.num_bins, generator=generator) + 0.01
    before = np.inf
    for _ in range(5):
        mel = filterbank.mel_from_magnitudes(magnitudes).double()
        divergence = float((target * (target / mel).log() - target + mel).sum())
        assert divergence <= before + 1e-4  # float32 sums
        before = divergence
        magnitudes = magnitudes * filterbank.gains(magnitudes, target)
        assert (magnitudes >= 0).all()


def test_magnitudes_reproduce_the_mel_amplitudes(stft: ReducedStft) -> None:
    waveform = SIGNALS["band"](RATE, 1.0)
    target = torchaudio.transforms.MelScale(512, RATE, 0, 10_000, PARAMS.n_fft // 2 + 1)(
        torchaudio.transforms.Spectrogram(PARAMS.n_fft, 4410, 441, power=1.0)(waveform)
    ).T
    target /= target.max()
    filterbank = MelFilterbank(PARAMS, stft.bin_hz, stft.num_bins, TORCH)
    magnitudes = filterbank.magnitudes_from_mel(target, num_updates=8)
    assert (filterbank.mel_from_magnitudes(magnitudes) - target).norm() <= 0.03 * target.norm()


def test_phases_of_a_tone_advance_with_its_frequency(stft: ReducedStft) -> None:
    reduced_rate = stft.bin_hz * stft.n_fft
    waveform = torch.sin(2 * np.pi * 437.7 * torch.arange(40 * stft.hop) / reduced_rate)[None]
    weights = uniform_weights(stft, waveform.shape[1])
    spectrum = spectrum_from_waveform(stft.frames(weights, REFLECTED), waveform)[:, 6:-6]
    phases = peak_phases(
        spectrum.abs() / spectrum.abs().max(), stft.hop, stft.window_length, stft.n_fft
    )
    error = torch.polar(torch.ones_like(phases), phases) * spectrum.conj()
    near = slice(round(437.7 / stft.bin_hz) - 2, round(437.7 / stft.bin_hz) + 3)
    error = (error / error.abs())[0, :, near]
    steps = torch.angle(error[1:] * error[:-1].conj())  # from one frame to the next
    across = torch.angle(error[:, 1:] * error[:, :-1].conj())  # from one bin to the next
    assert steps.abs().max() <= MAX_TONE_PHASE_ERROR
    assert across.abs().max() <= MAX_TONE_PHASE_ERROR


def test_phases_of_a_click_agree_on_its_time(stft: ReducedStft) -> None:
    waveform = torch.zeros(1, 40 * stft.hop)
    waveform[0, 4000] = 1
    weights = uniform_weights(stft, waveform.shape[1])
    spectrum = spectrum_from_waveform(stft.frames(weights, REFLECTED), waveform)
    magnitudes = spectrum.abs() / spectrum.abs().max()
    magnitudes *= 1 + 0.01 * torch.rand(
        magnitudes.shape, generator=torch.Generator().manual_seed(0)
    )
    phases = peak_phases(magnitudes, stft.hop, stft.window_length, stft.n_fft)
    click = waveform_from_spectrum(
        stft.frames(weights, REFLECTED), torch.polar(magnitudes, phases)
    ).abs()[0]
    assert abs(int(click.argmax()) - 4000) <= stft.hop // 2
    energy = click.square()
    assert energy[4000 - stft.hop : 4000 + stft.hop].sum() >= 0.8 * energy.sum()


def test_phases_of_silence_are_finite(stft: ReducedStft) -> None:
    phases = peak_phases(torch.zeros(2, 5, stft.num_bins), 216, 2160, 4320)
    assert phases.isfinite().all()


def test_phases_of_a_batch_equal_those_of_its_clips() -> None:
    magnitudes = torch.rand(3, 20, 301, generator=torch.Generator().manual_seed(0))
    together = peak_phases(magnitudes, 30, 300, 600)
    for index in range(3):
        alone = peak_phases(magnitudes[index : index + 1], 30, 300, 600)
        assert torch.equal(together[index], alone[0])
