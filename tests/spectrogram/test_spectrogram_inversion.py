"""Mel amplitudes → waveform: quality compared with torchaudio's, known signals, all shapes."""

import functools
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
import torchaudio

from benchmarks.signals import SIGNALS
from riffusion.errors import InputError
from riffusion.spectrogram.inversion.inverter import MelInverter
from riffusion.spectrogram.operations import NumpyOperations, Operations
from riffusion.spectrogram.params import SpectrogramParams
from riffusion.spectrogram.torch_operations import TorchOperations

PARAMS = SpectrogramParams()
RATE = PARAMS.sample_rate
DURATION_S = 1.28

MAX_CONVERGENCE = {"chord loop": 0.045, "drums": 0.04, "voice-like tone": 0.025, "band": 0.045}
"""Spectral convergence: 1.5 times the measured values, below torchaudio's for each signal."""
MAX_ODD_CONVERGENCE = 0.15  # a chord with parameters that weren't tuned; random phases give 0.4
MAX_TONE_ERROR_HZ = 1.0  # of the strongest frequency; a bin of the measurement is 0.25 Hz
MAX_TONE_ERROR = 0.003  # relative, 5 cents: above 2 kHz bands are wider than the window's main lobe
MAX_LEVEL_ERROR_DB = 0.2
MAX_CLICK_ERROR_S = 0.002  # a fifth of a frame
MAX_PRE_ECHO_DB = -20.0  # loudest sample more than 10 ms before a click, relative to the click
MAX_BATCH_DIFFERENCE = 1e-3  # of the peak; sums of a batch may run in another order


MAX_DIFFERENCE_DB = -35.0  # of two waveforms whose sums are rounded in another order
MAX_CONVERGENCE_DIFFERENCE = 1e-4
MAX_START_CREST = 8.0  # largest sample of the first 50 ms over the RMS of 500 ms; 15 if in phase


@functools.cache
def transforms(params: SpectrogramParams) -> torch.nn.Sequential:
    """torchaudio's, which define the mel amplitudes that are inverted."""
    spectrogram = torchaudio.transforms.Spectrogram(
        n_fft=params.n_fft, win_length=params.win_length, hop_length=params.hop_length, power=1.0
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # about bands without a bin
        mel_scale = torchaudio.transforms.MelScale(
            params.num_frequencies,
            params.sample_rate,
            params.min_frequency,
            params.max_frequency,
            params.n_fft // 2 + 1,
            params.mel_scale_norm,
            params.mel_scale_type,
        )
    return torch.nn.Sequential(spectrogram, mel_scale)


def mel_amplitudes(waveform: torch.Tensor, params: SpectrogramParams = PARAMS) -> torch.Tensor:
    num_frames = waveform.shape[-1] // params.hop_length
    mel: torch.Tensor = transforms(params)(waveform)[..., :num_frames]
    return mel


@functools.cache
def target_and_theirs(name: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Mel amplitudes of a signal, and those of the waveform that torchaudio makes of them."""
    target = mel_amplitudes(SIGNALS[name](RATE, DURATION_S))
    torch.manual_seed(0)
    oracle = torch.nn.Sequential(
        torchaudio.transforms.InverseMelScale(PARAMS.n_fft // 2 + 1, 512, RATE, 0, 10_000),
        torchaudio.transforms.GriffinLim(PARAMS.n_fft, 32, 4410, 441, power=1.0, momentum=0.99),
    )
    return target, torch.nn.functional.pad(mel_amplitudes(oracle(target)), (0, 1))


def convergence(target: torch.Tensor, actual: torch.Tensor) -> float:
    """Relative error at the best gain."""
    gain = (target * actual).sum() / actual.square().sum()
    return float((target - gain * actual).norm() / target.norm())


def tone(frequency_hz: float, num_samples: int, rate: int = RATE) -> torch.Tensor:
    return 0.5 * torch.sin(2 * np.pi * frequency_hz * torch.arange(num_samples) / rate)


OPERATIONS = {"numpy": NumpyOperations, "torch": lambda: TorchOperations(torch.device("cpu"))}


@pytest.fixture(scope="module", params=OPERATIONS)
def operations(request: pytest.FixtureRequest) -> Operations:
    return OPERATIONS[request.param]()


@pytest.fixture(scope="module")
def inverter(operations: Operations) -> MelInverter:
    return MelInverter(PARAMS, operations)


@pytest.mark.parametrize("name", SIGNALS)
def test_mel_amplitudes_are_restored_at_least_as_well_as_by_torchaudio(
    name: str, inverter: MelInverter
) -> None:
    target, theirs = target_and_theirs(name)
    ours = mel_amplitudes(inverter.waveform_from_mel_amplitudes(target))
    assert convergence(target, ours) <= MAX_CONVERGENCE[name]
    assert convergence(target[:, :-1], ours[:, :-1]) <= convergence(target[:, :-1], theirs[:, :-1])
    # Quiet parts count as much in the image, which is the amplitude to the power of 1/4.
    assert convergence(target[:, :-1] ** 0.25, ours[:, :-1] ** 0.25) <= convergence(
        target[:, :-1] ** 0.25, theirs[:, :-1] ** 0.25
    )
    assert abs(20 * torch.log10(ours.norm() / target.norm())) <= MAX_LEVEL_ERROR_DB


@pytest.mark.parametrize("frequency_hz", [55.0, 440.0, 3000.0, 9000.0])
def test_tone_keeps_its_frequency(frequency_hz: float, inverter: MelInverter) -> None:
    actual = inverter.waveform_from_mel_amplitudes(mel_amplitudes(tone(frequency_hz, RATE)))
    middle = actual[RATE // 4 : 3 * RATE // 4].numpy()
    spectrum = np.abs(np.fft.rfft(middle * np.hanning(len(middle)), 8 * len(middle)))
    measured_hz = np.argmax(spectrum) * RATE / (8 * len(middle))
    assert abs(measured_hz - frequency_hz) <= max(MAX_TONE_ERROR_HZ, MAX_TONE_ERROR * frequency_hz)


@pytest.mark.parametrize("frequency_hz", [55.0, 440.0, 3000.0])
def test_tone_keeps_its_level(frequency_hz: float, inverter: MelInverter) -> None:
    actual = inverter.waveform_from_mel_amplitudes(mel_amplitudes(tone(frequency_hz, RATE)))
    rms = actual[RATE // 4 : 3 * RATE // 4].square().mean().sqrt()
    assert abs(20 * torch.log10(rms / (0.5 / 2**0.5))) <= 2 * MAX_LEVEL_ERROR_DB


@pytest.mark.parametrize("click_at", [11_025, 20_000, 30_007])
def test_click_keeps_its_time_and_has_no_pre_echo(click_at: int, inverter: MelInverter) -> None:
    waveform = torch.zeros(RATE)
    waveform[click_at] = 1
    actual = inverter.waveform_from_mel_amplitudes(mel_amplitudes(waveform)).abs()
    assert abs(int(actual.argmax()) - click_at) <= MAX_CLICK_ERROR_S * RATE
    before = actual[: click_at - 441].max() / actual.max()
    assert 20 * torch.log10(before) <= MAX_PRE_ECHO_DB


def test_noise_does_not_start_with_a_click(inverter: MelInverter) -> None:
    noise = torch.randn(RATE, generator=torch.Generator().manual_seed(0))
    actual = inverter.waveform_from_mel_amplitudes(mel_amplitudes(noise))
    assert actual[:2205].abs().max() <= MAX_START_CREST * actual[:22_050].square().mean().sqrt()


def test_silence_stays_silent(inverter: MelInverter) -> None:
    assert not inverter.waveform_from_mel_amplitudes(torch.zeros(512, 100)).any()


def test_silent_channel_beside_a_loud_one_stays_silent(inverter: MelInverter) -> None:
    loud = mel_amplitudes(tone(440, 44_100))
    pair = inverter.waveform_from_mel_amplitudes(torch.stack([loud, torch.zeros_like(loud)]))
    assert pair[0].abs().max() > 0.4
    assert not pair[1].any()


def test_batch_equals_its_clips(inverter: MelInverter) -> None:
    clips = [SIGNALS[name](RATE, 0.5) for name in SIGNALS]
    target = mel_amplitudes(torch.stack(clips)).reshape(2, 2, 512, 50)
    together = inverter.waveform_from_mel_amplitudes(target)
    assert together.shape == (2, 2, 50 * 441)
    for index in np.ndindex(2, 2):
        alone = inverter.waveform_from_mel_amplitudes(target[index])
        assert (together[index] - alone).abs().max() <= MAX_BATCH_DIFFERENCE * alone.abs().max()


def test_equal_input_gives_equal_bits_and_uses_no_random_numbers(
    inverter: MelInverter, operations: Operations
) -> None:
    target = mel_amplitudes(SIGNALS["band"](RATE, 0.5))
    state = torch.get_rng_state()
    first = inverter.waveform_from_mel_amplitudes(target)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(99)
    assert torch.equal(MelInverter(PARAMS, operations).waveform_from_mel_amplitudes(target), first)


@pytest.mark.parametrize("num_frames", [1, 2, 3, 11, 12, 13, 512])
def test_length_follows_from_the_number_of_frames(num_frames: int, inverter: MelInverter) -> None:
    amplitudes = torch.rand(512, num_frames, generator=torch.Generator().manual_seed(0))
    waveform = inverter.waveform_from_mel_amplitudes(amplitudes)
    assert waveform.shape == (num_frames * 441,)
    assert waveform.isfinite().all()
    assert waveform.any()


@pytest.mark.parametrize(
    "changes",
    [
        {"min_frequency": 20, "max_frequency": 20_000},
        {"max_frequency": 96_000},  # bands above half the rate
        {"mel_scale_norm": "slaney", "mel_scale_type": "slaney"},
        {"sample_rate": 22_050},  # hop 220, window 2205
        {"sample_rate": 48_000, "num_frequencies": 128},
        {"sample_rate": 16_000, "max_frequency": 8000, "num_frequencies": 80},
        {"sample_rate": 96_000, "max_frequency": 4000},
        {"step_size_ms": 7, "window_duration_ms": 93, "padded_duration_ms": 210},
        {"step_size_ms": 25, "window_duration_ms": 50, "padded_duration_ms": 50},
        {"step_size_ms": 2, "window_duration_ms": 40, "padded_duration_ms": 80},
        {"padded_duration_ms": 100},
        {"padded_duration_ms": 1000},
    ],
    ids=lambda changes: ",".join(f"{name}={value}" for name, value in changes.items()),
)
def test_any_parameters(changes: dict[str, int | str], operations: Operations) -> None:
    params = SpectrogramParams(**changes)  # type: ignore[arg-type]
    num_frames = params.sample_rate // params.hop_length
    waveform = SIGNALS["chord loop"](params.sample_rate, 1.1)[: num_frames * params.hop_length]
    target = mel_amplitudes(waveform, params)
    actual = MelInverter(params, operations).waveform_from_mel_amplitudes(target)
    assert actual.shape == waveform.shape
    assert convergence(target, mel_amplitudes(actual, params)) <= MAX_ODD_CONVERGENCE


@pytest.mark.parametrize("step_size_ms", [30, 60, 90, 99])
def test_frames_that_barely_overlap_give_finite_audio(
    step_size_ms: int, operations: Operations
) -> None:
    params = SpectrogramParams(step_size_ms=step_size_ms)
    amplitudes = torch.rand(512, 20, generator=torch.Generator().manual_seed(0))
    waveform = MelInverter(params, operations).waveform_from_mel_amplitudes(amplitudes)
    assert waveform.shape == (20 * params.hop_length,)
    assert waveform.isfinite().all()
    assert waveform.abs().max() <= 30 * waveform.square().mean().sqrt()  # no bursts at the seams


def test_initial_phases_alone_restore_a_tone(operations: Operations) -> None:
    target = mel_amplitudes(tone(440, 44_100))
    params = SpectrogramParams(num_griffin_lim_iters=0)
    waveform = MelInverter(params, operations).waveform_from_mel_amplitudes(target)
    assert convergence(target, mel_amplitudes(waveform)) <= MAX_ODD_CONVERGENCE


@pytest.mark.parametrize("scale", [1e-8, 1e8])
def test_any_scale(scale: float, inverter: MelInverter) -> None:
    target = mel_amplitudes(SIGNALS["chord loop"](RATE, 0.5))
    expected = inverter.waveform_from_mel_amplitudes(target)
    actual = inverter.waveform_from_mel_amplitudes(target * scale) / scale
    assert (actual - expected).abs().max() <= MAX_BATCH_DIFFERENCE * expected.abs().max()


def test_memory_layout_and_type_do_not_matter(inverter: MelInverter) -> None:
    target = mel_amplitudes(SIGNALS["chord loop"](RATE, 0.5))
    expected = inverter.waveform_from_mel_amplitudes(target)
    transposed = target.T.contiguous().T
    wide = torch.stack([target, target], dim=-1)[..., 0]
    for amplitudes in (transposed, wide, target.double()):
        assert torch.equal(inverter.waveform_from_mel_amplitudes(amplitudes), expected)


@pytest.mark.parametrize("name", SIGNALS)
def test_numpy_and_torch_give_the_same_waveform(name: str) -> None:
    target = mel_amplitudes(SIGNALS[name](RATE, DURATION_S))
    numpys, torchs = (
        MelInverter(PARAMS, make()).waveform_from_mel_amplitudes(target)
        for make in OPERATIONS.values()
    )
    difference_db = 10 * torch.log10((numpys - torchs).square().sum() / torchs.square().sum())
    assert difference_db < MAX_DIFFERENCE_DB
    errors = [convergence(target, mel_amplitudes(waveform)) for waveform in (numpys, torchs)]
    assert abs(errors[0] - errors[1]) < MAX_CONVERGENCE_DIFFERENCE


def test_an_array_gives_an_array_and_a_tensor_a_tensor(inverter: MelInverter) -> None:
    target = mel_amplitudes(SIGNALS["chord loop"](RATE, 0.3))
    tensor = inverter.waveform_from_mel_amplitudes(target)
    array = inverter.waveform_from_mel_amplitudes(target.numpy())
    assert isinstance(tensor, torch.Tensor)
    assert isinstance(array, np.ndarray)
    assert array.dtype == np.float32
    assert np.array_equal(array, tensor.numpy())


def test_the_number_of_threads_does_not_change_a_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    target = mel_amplitudes(SIGNALS["band"](RATE, 0.5)).numpy()
    several = MelInverter(PARAMS).waveform_from_mel_amplitudes(np.stack([target, target]))
    monkeypatch.setattr("riffusion.runtime.shared_work._other_threads", lambda: (None, 0))
    alone = MelInverter(PARAMS).waveform_from_mel_amplitudes(np.stack([target, target]))
    assert np.array_equal(alone, several)


def test_several_threads_invert_at_once() -> None:
    targets = [mel_amplitudes(tone(hz, 22_050)).numpy() for hz in (220, 330, 440, 550)]
    inverter = MelInverter(PARAMS)
    expected = [inverter.waveform_from_mel_amplitudes(target) for target in targets]
    with ThreadPoolExecutor(4) as threads:
        actual = list(threads.map(inverter.waveform_from_mel_amplitudes, targets))
    for one, other in zip(actual, expected, strict=True):
        assert np.array_equal(one, other)


def test_input_is_not_changed(inverter: MelInverter) -> None:
    target = mel_amplitudes(tone(440, 22_050))
    before = target.clone()
    inverter.waveform_from_mel_amplitudes(target)
    assert torch.equal(target, before)


@pytest.mark.parametrize(
    "value", [-1e-3, float("nan"), float("inf"), 1e300], ids=["negative", "nan", "inf", "overflow"]
)
def test_impossible_amplitudes_are_refused(value: float, inverter: MelInverter) -> None:
    amplitudes = torch.ones(512, 20, dtype=torch.float64)
    amplitudes[5, 7] = value
    with pytest.raises(InputError, match="must be finite float32 and at least 0"):
        inverter.waveform_from_mel_amplitudes(amplitudes)


@pytest.mark.parametrize("shape", [(512,), (511, 20), (512, 0), (0, 512, 20), (20, 512)])
def test_impossible_shapes_are_refused(shape: tuple[int, ...], inverter: MelInverter) -> None:
    with pytest.raises(InputError, match=r"must be \(\.\.\., 512, frames\)"):
        inverter.waveform_from_mel_amplitudes(torch.zeros(shape))
