"""Another duration and another pitch: lengths, places, pitches, loudness at joins, and memory."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from riffusion.audio.waveform import Waveform
from riffusion.editing import stretching
from riffusion.editing.pitch_shifting import shifted
from riffusion.editing.stretching import check_library, stretched
from riffusion.errors import InputError
from tests.editing.recording_in_memory import RecordingInMemory

RATE = 22_050
PITCH_TOLERANCE_CENTS = 0.5
PLACE_TOLERANCE_S = 0.003  # a click is as wide as the vocoder's attacks
JOIN_TOLERANCE_DB = 0.3
SAME_PITCH, SAME_LENGTH = 0.0, Fraction(1)


def result(waveform: Waveform, semitones: float, length: Fraction, rate: int = RATE) -> Waveform:
    recording = RecordingInMemory(waveform, rate)
    parts = shifted(
        recording.waveform, recording.num_samples, len(waveform), rate, semitones, length
    )
    return np.concatenate(list(parts), axis=1)


def tone(frequency_hz: float, duration_s: float, rate: int = RATE) -> Waveform:
    t = np.arange(round(duration_s * rate)) / rate
    return (0.5 * np.sin(2 * np.pi * frequency_hz * t))[None].astype(np.float32)


def pitch_hz(signal: np.ndarray, rate: int = RATE) -> float:
    """The strongest partial, by a parabola through the logarithm of its three bins."""
    spectrum = np.abs(np.fft.rfft(signal * np.hanning(signal.size), 4 * signal.size))
    at = int(spectrum.argmax())
    left, middle, right = np.log(spectrum[at - 1 : at + 2])
    offset = 0.5 * (left - right) / (left - 2 * middle + right)
    return float((at + offset) * rate / (4 * signal.size))


@pytest.mark.parametrize("length", [Fraction(1), Fraction(9, 10), Fraction(7, 5)])
@pytest.mark.parametrize("semitones", [0.0, 3.0, -5.0, 0.5, 12.0])
@pytest.mark.parametrize("frequency_hz", [55.0, 440.0])
def test_pitches_move_exactly(frequency_hz: float, semitones: float, length: Fraction) -> None:
    waveform = tone(frequency_hz, 6)
    moved = result(waveform, semitones, length)
    assert moved.shape == (1, round(waveform.shape[1] * length))
    found = pitch_hz(moved[0, RATE // 2 : -RATE // 2])
    wanted = frequency_hz * 2 ** (semitones / 12)
    assert abs(1200 * np.log2(found / wanted)) < PITCH_TOLERANCE_CENTS


@settings(max_examples=30, deadline=None)
@given(
    num_samples=st.integers(8, 60_000),
    channels=st.integers(1, 2),
    length=st.fractions(Fraction(1, 4), Fraction(4), max_denominator=1000),
    semitones=st.sampled_from([0.0, 0.0, 2.0, -7.0]),
)
def test_lengths_are_exact_and_samples_finite(
    num_samples: int, channels: int, length: Fraction, semitones: float
) -> None:
    rng = np.random.default_rng(num_samples)
    waveform = rng.uniform(-0.5, 0.5, (channels, num_samples)).astype(np.float32)
    moved = result(waveform, semitones, length)
    assert moved.shape == (channels, round(num_samples * length))
    assert np.isfinite(moved).all()


@pytest.mark.parametrize("length", [Fraction(4, 5), Fraction(5, 4)])
@pytest.mark.parametrize("semitones", [0.0, 4.0])
def test_moments_keep_their_places(semitones: float, length: Fraction) -> None:
    """Over several blocks: a click every 3.1 s is where the ratio of the lengths says."""
    times = np.arange(0.7, 69, 3.1)
    waveform = np.zeros((1, 70 * RATE), np.float32)
    for time_s in times:
        waveform[0, round(time_s * RATE) : round(time_s * RATE) + 30] = 0.5
    moved = np.abs(result(waveform, semitones, length)[0])
    for time_s in times * float(length):
        around = slice(round((time_s - 0.1) * RATE), round((time_s + 0.1) * RATE))
        found = (around.start + int(moved[around].argmax())) / RATE
        assert abs(found - time_s) < PLACE_TOLERANCE_S + stretching._SHIFT_S


@pytest.mark.parametrize("frequency_hz", [110.0, 997.0])
@pytest.mark.parametrize("semitones", [0.0, 2.0])
def test_joins_of_blocks_keep_the_loudness(frequency_hz: float, semitones: float) -> None:
    moved = result(tone(frequency_hz, 80), semitones, Fraction(11, 10))[0, RATE:-RATE]
    frames = moved[: moved.size // 441 * 441].reshape(-1, 441)
    # A window of two cycles or more, whatever the pitch.
    level = np.sqrt(np.convolve((frames**2).mean(axis=1), np.ones(4) / 4, mode="valid"))
    level_db = 20 * np.log10(level / np.median(level))
    assert np.abs(level_db).max() < JOIN_TOLERANCE_DB


def test_noise_keeps_its_loudness_at_joins() -> None:
    noise = np.random.default_rng(1).normal(0, 0.1, (2, 80 * RATE)).astype(np.float32)
    moved = result(noise, SAME_PITCH, Fraction(10, 11))[0]
    window = RATE // 20
    level = np.sqrt((moved[: moved.size // window * window].reshape(-1, window) ** 2).mean(axis=1))
    level_db = 20 * np.log10(level / np.median(level))
    assert level_db[4:-4].min() > -3.5  # noise of 50 ms varies by itself, by 0.5 dB


def test_without_a_change_the_samples_are_the_same() -> None:
    noise = np.random.default_rng(1).normal(0, 0.1, (2, 60 * RATE + 7)).astype(np.float32)
    np.testing.assert_array_equal(result(noise, SAME_PITCH, SAME_LENGTH), noise)


def test_the_same_audio_gives_the_same_samples() -> None:
    noise = np.random.default_rng(1).normal(0, 0.1, (1, 3 * RATE)).astype(np.float32)
    first, second = (result(noise, SAME_PITCH, Fraction(3)) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_stereo_channels_stay_apart() -> None:
    waveform = np.concatenate([tone(300, 5), tone(500, 5)])
    moved = result(waveform, 2.0, Fraction(9, 10))
    for channel, hz in zip(moved, (300.0, 500.0), strict=True):
        found = pitch_hz(channel[RATE // 2 : -RATE // 2])
        assert abs(1200 * np.log2(found / hz) - 200) < PITCH_TOLERANCE_CENTS


@pytest.mark.parametrize("length", [Fraction(1, 2), Fraction(1), Fraction(5, 4)])
def test_a_block_is_read_at_a_time(length: Fraction) -> None:
    recording = RecordingInMemory(np.zeros((1, 200 * RATE), np.float32), RATE)
    parts = stretched(recording.waveform, 200 * RATE, 1, RATE, length)
    longest = max(part.shape[1] for part in parts)
    assert longest <= 27 * RATE
    assert recording.most_read <= 52 * RATE


def test_a_missing_library_names_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match="pip install python-stretch"):
        check_library()
