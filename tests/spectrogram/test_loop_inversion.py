"""Spectrograms of loops → waveforms that repeat without a click, and with their attacks."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
import torch

from benchmarks.signals import SIGNALS
from riffusion.spectrogram.converter import FULL_SCALE, SpectrogramConverter
from riffusion.spectrogram.inversion.ends import Ends, JoinedEnds, ReflectedEnds
from riffusion.spectrogram.inversion.inverter import KnownSamples, MelInverter
from riffusion.spectrogram.inversion.loop_joint import continues_at_start, with_smooth_joint
from riffusion.spectrogram.operations import NumpyOperations, Operations
from riffusion.spectrogram.params import SpectrogramParams
from riffusion.spectrogram.torch_operations import TorchOperations

PARAMS = SpectrogramParams()
RATE = PARAMS.sample_rate
NUM_FRAMES = 128
NUM_SAMPLES = NUM_FRAMES * PARAMS.hop_length
SECONDS = NUM_SAMPLES / RATE
TIMES = np.arange(NUM_SAMPLES) / RATE
SMOOTHED = round(0.003 * RATE)

MAX_LOOP_ERROR = 1.3  # of the frames around the joint, relative to the others
MAX_ONSET_LOSS_DB = 1.0  # of the level from 3 to 10 ms after an attack
MAX_KNOWN_ERROR = 0.02  # of full scale

Wave = npt.NDArray[np.float32]


def tones(*frequencies_hz: float) -> Wave:
    """Tones with whole numbers of cycles, so they repeat without a seam."""
    cycles = [round(hz * SECONDS) for hz in frequencies_hz]
    waves = [np.sin(2 * np.pi * n * TIMES / SECONDS + n) for n in cycles]
    return np.sum(waves, axis=0, dtype=np.float32) * np.float32(0.5 / len(waves))


def pluck() -> Wave:
    """A string that is plucked at the start and has faded away at the end."""
    partials = [np.sin(2 * np.pi * 220 * n * TIMES) / n for n in range(1, 8)]
    faded = np.sum(partials, axis=0) * np.exp(-TIMES / 0.15)
    return (0.2 * faded).astype(np.float32)


def two_notes() -> Wave:
    """One note in the first half, and another one in the second."""
    hz = np.where(TIMES < SECONDS / 2, 330, 440)
    return (0.4 * np.sin(2 * np.pi * hz * TIMES)).astype(np.float32)


def bends(waveform: Wave) -> Wave:
    """Second differences of a loop, (samples,); the last two are those of the joint."""
    ahead = np.concatenate([waveform, waveform[:2]])
    return np.abs(np.diff(ahead, n=2))


def errors_of_frames(
    loop: Wave, target: Wave, converter: SpectrogramConverter
) -> tuple[float, float]:
    """Mean error of the frames that see both ends, and of the others."""
    amplitudes = converter.spectrogram_from_waveform(loop[None], circular=True)[0] / FULL_SCALE
    errors = np.linalg.norm(amplitudes - target, axis=0)
    at_joint = np.concatenate([errors[:5], errors[-5:]])
    return float(at_joint.mean()), float(errors[10:-10].mean())


@pytest.fixture(scope="module")
def converter() -> SpectrogramConverter:
    return SpectrogramConverter(PARAMS)


OPERATIONS: dict[str, Callable[[], Operations]] = {
    "numpy": NumpyOperations,
    "torch": lambda: TorchOperations(torch.device("cpu")),
}


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize(
    "loop",
    [tones(220, 277, 330), tones(97, 1234, 4711), tones(60, 90)],
    ids=["chord", "wide", "bass"],
)
def test_a_loop_repeats_as_smoothly_as_it_plays(
    loop: Wave, name: str, converter: SpectrogramConverter
) -> None:
    target = converter.spectrogram_from_waveform(loop[None], circular=True) / FULL_SCALE
    inverter = MelInverter(PARAMS, OPERATIONS[name]())
    found = np.asarray(inverter.waveform_from_mel_amplitudes(target, circular=True))[0]
    assert bends(found)[-2:].max() <= bends(found)[:-2].max()
    at_joint, elsewhere = errors_of_frames(found, target[0], converter)
    assert at_joint <= MAX_LOOP_ERROR * elsewhere
    alone = np.asarray(inverter.waveform_from_mel_amplitudes(target))[0]
    assert errors_of_frames(alone, target[0], converter)[0] > 1.5 * at_joint


@pytest.mark.parametrize("make", [pluck, two_notes])
def test_a_part_of_music_keeps_its_attack_and_repeats_without_a_click(
    make: Callable[[], Wave], converter: SpectrogramConverter
) -> None:
    amplitudes = converter.spectrogram_from_waveform(make()[None])
    alone = converter.waveform_from_spectrogram(amplitudes, False)[0]
    repeated = converter.waveform_from_spectrogram(amplitudes, False, circular=True)[0]
    assert np.array_equal(repeated[SMOOTHED:], alone[SMOOTHED:])
    inside = bends(alone)[:-2].max()
    assert bends(alone)[-2:].max() > 2 * inside
    assert bends(repeated)[-2:].max() <= inside
    onset = slice(SMOOTHED, 441)
    loss_db = 20 * np.log10(np.linalg.norm(make()[onset]) / np.linalg.norm(repeated[onset]))
    assert loss_db <= MAX_ONSET_LOSS_DB


def test_only_a_loops_spectrogram_continues_at_its_start(converter: SpectrogramConverter) -> None:
    for make in SIGNALS.values():
        signal = np.asarray(make(RATE, SECONDS + 1), np.float32)[None, :NUM_SAMPLES]
        assert continues_at_start(converter.spectrogram_from_waveform(signal, circular=True))
    for make in (pluck, two_notes):
        assert continues_at_start(converter.spectrogram_from_waveform(make()[None], circular=True))
        assert not continues_at_start(converter.spectrogram_from_waveform(make()[None]))
    assert continues_at_start(np.zeros((1, 512, 20), np.float32))  # silence


@pytest.mark.parametrize("num_samples", [1, 2, 3, 100, 265, 5000])
def test_a_smooth_joint_has_neither_a_step_nor_a_corner(num_samples: int) -> None:
    ramp = np.linspace(0, 1, num_samples, dtype=np.float32)[None]
    before = ramp.copy()
    smooth = with_smooth_joint(ramp, RATE)
    assert np.array_equal(ramp, before)
    length = min(SMOOTHED, num_samples // 2)
    assert np.array_equal(smooth[:, length:], ramp[:, length:])
    if num_samples == 5000:
        steps = np.diff(np.concatenate([smooth[0, -50:], smooth[0, :50]]))
        assert np.abs(np.diff(steps)).max() <= 3 / SMOOTHED**2 * np.pi**2 / 2  # a raised cosine's


@pytest.mark.parametrize("num_frames", [1, 2, 11, 12, 13, 40])
@pytest.mark.parametrize("circular", [False, True])
def test_length_follows_from_the_number_of_frames(
    num_frames: int, circular: bool, converter: SpectrogramConverter
) -> None:
    amplitudes = np.random.default_rng(0).random((2, 512, num_frames), np.float32)
    amplitudes[..., -1] = amplitudes[..., 0]
    waveform = converter.waveform_from_spectrogram(amplitudes, circular=circular)
    assert waveform.shape == (2, num_frames * 441)
    assert np.isfinite(waveform).all()


def test_512_frames_are_225792_samples(converter: SpectrogramConverter) -> None:
    amplitudes = np.ones((1, 512, 512), np.float32)
    params = SpectrogramParams(num_griffin_lim_iters=2)
    waveform = SpectrogramConverter(params).waveform_from_spectrogram(amplitudes, circular=True)
    assert waveform.shape == (1, 225_792)


@pytest.mark.parametrize("changes", [{"sample_rate": 22_050}, {"step_size_ms": 30}])
def test_loops_with_other_parameters(changes: dict[str, int]) -> None:
    params = SpectrogramParams(**changes)  # type: ignore[arg-type]
    num_samples = 40 * params.hop_length
    turns = 30 * np.arange(num_samples) / num_samples
    loop = (0.5 * np.sin(2 * np.pi * turns)).astype(np.float32)
    converter = SpectrogramConverter(params)
    amplitudes = converter.spectrogram_from_waveform(loop[None], circular=True)
    found = converter.waveform_from_spectrogram(amplitudes, False, circular=True)[0]
    assert bends(found)[-2:].max() <= bends(found)[:-2].max()


def test_known_samples_of_a_loop_stay(converter: SpectrogramConverter) -> None:
    loop = tones(220, 330)
    amplitudes = converter.spectrogram_from_waveform(loop[None], circular=True) / FULL_SCALE
    is_known = (TIMES < 0.3) | (TIMES > 1.0)
    found = converter.waveform_from_mel_amplitudes(
        amplitudes, KnownSamples(loop[None], is_known), circular=True
    )[0]
    error = np.abs(found - loop)[is_known].max()
    assert error <= MAX_KNOWN_ERROR


@pytest.mark.parametrize("ends", [ReflectedEnds(), JoinedEnds()], ids=["reflected", "joined"])
@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize(("left", "right"), [(7, 3), (5, 19), (19, 1)])
def test_folding_is_the_transpose_of_extending(
    left: int, right: int, name: str, ends: Ends
) -> None:
    do = OPERATIONS[name]()
    numbers = np.random.default_rng(0)
    signal = numbers.standard_normal((2, 20)).astype(np.float32)
    other = numbers.standard_normal((2, left + 20 + right)).astype(np.float32)
    extended = np.asarray(ends.extended(do.floats(signal), left, right, do))
    assert np.array_equal(extended[:, left : left + 20], signal)
    folded = np.asarray(ends.folded(do.floats(other.copy()), left, 20, do))
    assert np.sum(extended * other) == pytest.approx(np.sum(signal * folded), abs=1e-4)


def test_joined_ends_are_the_repetition() -> None:
    extended = JoinedEnds().extended(np.arange(6.0)[None], 2, 3, NumpyOperations())
    assert extended[0].tolist() == [4, 5, 0, 1, 2, 3, 4, 5, 0, 1, 2]
