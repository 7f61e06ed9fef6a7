import math

import numpy as np
import pyloudnorm
import pytest
from scipy.signal import resample_poly

from riffusion.audio import (
    Audio,
    decode_audio,
    encode_audio,
    measure_loudness,
    normalize_waveform,
    true_peak_db,
    waveform_from_segment,
    with_channels,
)
from riffusion.audio.convolution import convolved
from riffusion.audio.loudness import loudness_of_parts
from riffusion.errors import InputError
from tests.audio.audio_signals import Signal, chord, drums, noise, sine

LOUDNESS_TOLERANCE_LU = 0.1
"""EBU Tech 3341's tolerance of a loudness meter."""
LOW_RATE_TOLERANCE_LU = 0.25
"""At 8 kHz the bilinear transform bends the weighting's high shelf."""
TARGET_TOLERANCE_LU = 0.5
TRUE_PEAK_TOLERANCE_DB = (-0.4, 0.2)
"""EBU Tech 3341's tolerance of a true-peak meter: lowest and highest deviation."""
CEILING_TOLERANCE_DB = 0.0
CODEC_OVERSHOOT_DB = 1.0
"""Largest rise of the peak by a lossy codec: the room that the ceiling of -1 dBTP leaves."""
RATE = 44100


def oversampled_peak_db(waveform: Signal) -> float:
    """Independent true peak: SciPy's polyphase interpolation, 16-fold."""
    fine = resample_poly(waveform.astype(np.float64), 16, 1, axis=1, window=("kaiser", 8.0))
    return 20 * math.log10(np.abs(fine).max())


@pytest.mark.parametrize("rate", [8000, 22050, 44100, 48000, 96000])
def test_1_khz_sine_on_both_channels_reads_its_level(rate):
    # EBU Tech 3341, cases 1 and 2; mono is one loudspeaker, 3.01 dB less
    tolerance = LOUDNESS_TOLERANCE_LU if rate > 8000 else LOW_RATE_TOLERANCE_LU
    for level in (-23.0, -33.0):
        tone = sine(997, 10 ** (level / 20), 5, rate)
        stereo = measure_loudness(with_channels(tone, 2), rate)
        assert stereo == pytest.approx(level, abs=tolerance)
        mono = measure_loudness(tone, rate)
        assert mono == pytest.approx(level - 3.01, abs=tolerance)


def test_quiet_parts_are_gated():
    # EBU Tech 3341, case 3: 10 s at -36, 60 s at -23, 10 s at -36 dBFS read -23 LUFS
    parts = [sine(997, 10 ** (level / 20), length, 48000) for level, length in QUIET_LOUD_QUIET]
    stereo = with_channels(np.concatenate(parts, axis=1), 2)
    reading = measure_loudness(stereo, 48000)
    assert reading == pytest.approx(-23.0, abs=LOUDNESS_TOLERANCE_LU)


QUIET_LOUD_QUIET = [(-36.0, 10), (-23.0, 60), (-36.0, 10)]


@pytest.mark.parametrize("rate", [8000, 11_025, 22_050, 44_100, 48_000, 96_000])
@pytest.mark.parametrize("duration_s", [0.4, 0.449, 0.451, 3.333])
@pytest.mark.parametrize("num_channels", [1, 2])
def test_equals_pyloudnorm_at_any_rate(rate: int, duration_s: float, num_channels: int) -> None:
    rng = np.random.default_rng(0)
    num_samples = math.ceil(duration_s * rate)
    levels = 0.1 * np.repeat(rng.random(20) ** 4, num_samples // 20 + 1)[:num_samples]
    waveform = (levels * rng.standard_normal((num_channels, num_samples))).astype(np.float32)
    expected = pyloudnorm.Meter(rate).integrated_loudness(waveform.T.astype(np.float64))
    assert measure_loudness(waveform, rate) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(
    ("num_samples", "num_taps"), [(64, 64), (65, 64), (300, 64), (9000, 64), (50_001, 441)]
)
def test_blocks_of_a_convolution_join_without_a_seam(num_samples: int, num_taps: int) -> None:
    rng = np.random.default_rng(0)
    signal, kernel = rng.standard_normal((2, num_samples)), rng.standard_normal(num_taps)
    expected = [np.convolve(channel, kernel, mode="valid") for channel in signal]
    assert convolved(signal, kernel) == pytest.approx(np.stack(expected), abs=1e-10)


def test_equals_pyloudnorm():
    waveform = noise(3 * RATE, 2) + chord(3 * RATE, RATE, 2)
    expected = pyloudnorm.Meter(RATE).integrated_loudness(waveform.T.astype(np.float64))
    assert measure_loudness(waveform, RATE) == pytest.approx(expected, abs=1e-6)


def test_short_clips_read_as_if_repeated():
    # 100 periods of 441 Hz are a whole number of samples at 44.1 kHz
    long = sine(441, 0.25, 4, RATE)
    for length in (100, 1000, 17000):
        reading = measure_loudness(long[:, :length], RATE)
        assert reading == pytest.approx(measure_loudness(long, RATE), abs=0.3)


def test_low_rates_and_many_channels_can_be_measured():
    assert measure_loudness(sine(200, 0.5, 1, 1000), 1000) == pytest.approx(
        measure_loudness(sine(200, 0.5, 1, 48000), 48000), abs=LOUDNESS_TOLERANCE_LU
    )
    same = np.repeat(sine(997, 0.1, 1, RATE), 6, axis=0)
    assert measure_loudness(same, RATE) == pytest.approx(-20, abs=LOUDNESS_TOLERANCE_LU)


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("length", [0, 1, 100, 30000])
def test_silence_has_no_loudness_and_stays_silent(length, channels):
    silence = np.zeros((channels, length), dtype=np.float32)
    assert measure_loudness(silence, RATE) == -math.inf
    assert true_peak_db(silence) == -math.inf
    assert np.array_equal(normalize_waveform(silence, RATE), silence)
    assert np.array_equal(normalize_waveform(silence, RATE, circular=True), silence)


@pytest.mark.parametrize("phase", [0.0, math.pi / 4, 1.0])
@pytest.mark.parametrize("divisor", [4, 6, 8])
def test_true_peak_lies_between_samples(divisor, phase):
    # EBU Tech 3341, cases 15 to 17: a quarter of the rate at 45° peaks 3 dB above its samples
    time = np.arange(20000)
    fade = np.minimum(1, np.minimum(time, time[::-1]) / 2000)
    tone = 0.5 * fade * np.sin(2 * np.pi * time / divisor + phase)
    reading = true_peak_db(tone.astype(np.float32)[None])
    low, high = TRUE_PEAK_TOLERANCE_DB
    assert low <= reading - 20 * math.log10(0.5) <= high


def test_true_peak_against_fine_oversampling():
    for waveform in (chord(RATE, RATE, 2), drums(2, RATE)):
        assert true_peak_db(waveform) == pytest.approx(oversampled_peak_db(waveform), abs=0.1)


def clips() -> dict[str, Signal]:
    length = round(5.12 * RATE)
    return {
        "quiet chord": 0.01 * chord(length, RATE, 2),
        "loud noise": noise(length, rms=0.5),
        "square": np.sign(sine(110, 1.0, 5.12, RATE)),
        "drums": drums(5.12, RATE),
        "dry drums": drums(5.12, RATE, decay_s=0.06),
        "drums and chord": 0.7 * drums(5.12, RATE) + 0.1 * chord(length, RATE),
        "half a second": chord(RATE // 2, RATE),
        "50 ms": chord(RATE // 20, RATE),
    }


@pytest.mark.parametrize("circular", [False, True])
@pytest.mark.parametrize("name", clips())
def test_every_clip_reaches_the_target_under_the_ceiling(name, circular):
    waveform = clips()[name]
    result = normalize_waveform(waveform, RATE, circular=circular)
    assert result.shape == waveform.shape
    assert measure_loudness(result, RATE) == pytest.approx(-14, abs=TARGET_TOLERANCE_LU)
    assert true_peak_db(result, circular=circular) <= -1 + CEILING_TOLERANCE_DB
    assert oversampled_peak_db(result) <= -1 + CEILING_TOLERANCE_DB


@pytest.mark.parametrize(("target", "ceiling"), [(-23, -1), (-14, -3), (-10, 0), (-18, -6)])
def test_other_targets_and_ceilings(target, ceiling):
    waveform = drums(5.12, RATE) + chord(225792, RATE)
    result = normalize_waveform(waveform, RATE, target, ceiling)
    assert measure_loudness(result, RATE) == pytest.approx(target, abs=TARGET_TOLERANCE_LU)
    assert true_peak_db(result) <= ceiling + CEILING_TOLERANCE_DB


@pytest.mark.parametrize("position", [0, 1, 20000, 43000])
def test_a_lone_click_stays_under_the_ceiling_and_below_the_target(position):
    click = np.zeros((1, RATE), dtype=np.float32)
    click[0, position] = 0.9
    result = normalize_waveform(click, RATE)
    assert -1.3 <= true_peak_db(result) <= -1
    assert measure_loudness(result, RATE) < -20


@pytest.mark.parametrize("target", [-70, -69, -66, -50])
@pytest.mark.parametrize("num_samples", [30, 20_000, 40_000])
def test_near_the_meters_gate_clips_become_quiet(target, num_samples):
    for seed in range(12):
        rng = np.random.default_rng(seed)
        levels = 0.1 * 10 ** (-1.2 * np.repeat(rng.random(num_samples // 3000 + 1), 3000))
        clip = (levels[:num_samples] * rng.standard_normal((1, num_samples))).astype(np.float32)
        result = normalize_waveform(clip, RATE, target)
        assert true_peak_db(result) < target + 35
        if target > -70:  # at the gate itself, its rounding decides whether anything is heard
            assert measure_loudness(result, RATE) == pytest.approx(target, abs=TARGET_TOLERANCE_LU)


@pytest.mark.parametrize("num_samples", [1, 2, 10, 441, 8820])
@pytest.mark.parametrize("circular", [False, True])
def test_what_is_heard_at_the_start_only_reaches_the_target(num_samples, circular):
    # the meter's high pass takes a constant away, but for the step at its start
    constant = np.full((1, num_samples), 0.3, np.float32)
    result = normalize_waveform(constant, RATE, -40, circular=circular)
    assert measure_loudness(result, RATE) == pytest.approx(-40, abs=TARGET_TOLERANCE_LU)


def test_without_limiting_it_is_gain_alone():
    waveform = 0.3 * chord(RATE, RATE, 2)
    result = normalize_waveform(waveform, RATE, -30)
    gains = result[np.abs(waveform) > 1e-3] / waveform[np.abs(waveform) > 1e-3]
    assert gains.max() / gains.min() == pytest.approx(1, abs=1e-5)


def test_limiter_is_gentle_to_what_is_not_a_peak():
    waveform = drums(5.12, RATE)
    waveform[0, 100_000:140_000] = 0.05 * chord(40_000, RATE)[0]
    result = normalize_waveform(waveform, RATE)
    assert np.array_equal(waveform == 0, result == 0)
    gain = result / np.where(waveform == 0, 1, waveform)
    steps = np.abs(np.diff(20 * np.log10(np.maximum(gain[0], 1e-9))))[waveform[0, 1:] != 0]
    assert np.median(steps) < 0.01  # dB per sample: no clicks from the gain


def test_waveforms_beyond_full_scale_are_brought_down_without_clipping():
    waveform = 1000 * chord(RATE, RATE)
    result = normalize_waveform(waveform, RATE)
    assert np.corrcoef(result[0], waveform[0])[0, 1] > 0.9999


def test_circular_limiting_leaves_no_seam():
    loop = np.roll(drums(2, RATE), 300)  # a kick right before and after the seam
    shifted = np.roll(loop, RATE)
    whole = normalize_waveform(loop, RATE, circular=True)
    moved = normalize_waveform(shifted, RATE, circular=True)
    # where the loop starts makes no difference (but the gating blocks' place does to the gain)
    gain = np.dot(np.roll(whole, RATE)[0], moved[0]) / np.dot(moved[0], moved[0])
    assert np.abs(np.roll(whole, RATE) - gain * moved).max() < 0.02
    tiled = np.concatenate([whole, whole], axis=1)
    assert oversampled_peak_db(tiled) <= -1


def test_same_level_for_quiet_and_loud_takes_of_a_clip():
    waveform = drums(5.12, RATE) + chord(225792, RATE)
    readings = [
        measure_loudness(normalize_waveform(gain * waveform, RATE), RATE)
        for gain in (0.01, 0.1, 0.5)
    ]
    assert max(readings) - min(readings) < 0.1


def test_peaks_after_an_mp3_stay_below_full_scale():
    result = normalize_waveform(drums(5.12, RATE) + chord(225792, RATE), RATE)
    decoded = waveform_from_segment(decode_audio(encode_audio(Audio(result, RATE), "mp3")))
    assert true_peak_db(decoded) <= -1 + CODEC_OVERSHOOT_DB
    reading = measure_loudness(decoded, RATE)
    assert reading == pytest.approx(measure_loudness(result, RATE), abs=0.5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target_lufs": 1}, "target_lufs=1"),
        ({"target_lufs": math.nan}, "target_lufs=nan"),
        ({"target_lufs": -math.inf}, "target_lufs=-inf"),
        ({"true_peak_dbtp": 0.1}, r"true_peak_dbtp=0\.1"),
        ({"true_peak_dbtp": -21}, "true_peak_dbtp=-21"),
    ],
)
def test_bad_targets(options, message):
    with pytest.raises(InputError, match=message):
        normalize_waveform(chord(1000, RATE), RATE, **options)


def test_bad_waveform():
    with pytest.raises(InputError, match="NaN"):
        normalize_waveform(np.full((1, 10), np.nan, dtype=np.float32), RATE)


@pytest.mark.parametrize("part_s", [2, 3, 40])
@pytest.mark.parametrize("quiet_db", [0, -6, -15, -200])
def test_parts_have_the_loudness_of_the_whole(part_s, quiet_db):
    whole = noise(30 * 8000, 2, rms=0.1)
    whole[:, 8000 * 9 : 8000 * 18] *= 10 ** (quiet_db / 20)
    parts = [whole[:, at : at + part_s * 8000] for at in range(0, whole.shape[1], part_s * 8000)]
    assert loudness_of_parts(parts, 8000) == pytest.approx(measure_loudness(whole, 8000), abs=0.2)


def test_silent_parts_have_no_loudness():
    assert loudness_of_parts([np.zeros((1, 8000), np.float32)] * 2, 8000) == -math.inf
