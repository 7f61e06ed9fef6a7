"""Audio ⇄ mel amplitudes ⇄ images, compared with torchaudio's modules and known signals."""

import dataclasses

import numpy as np
import pytest
import torch
import torchaudio
from PIL import Image

from riffusion.audio import segment_from_waveform, waveform_from_segment
from riffusion.errors import InputError
from riffusion.spectrogram.converter import FULL_SCALE, SpectrogramConverter
from riffusion.spectrogram.image_converter import SpectrogramImageConverter, params_from_image
from riffusion.spectrogram.params import SpectrogramParams

RATE = 44_100
MAX_RELATIVE_ERROR = 1e-5  # float32 sums in another order
MAX_TONE_ERROR_HZ = 5.0  # one bin of the measuring FFT over 0.2 s
MAX_TONE_LEVEL_ERROR_DB = 1.5  # lone tones above 2 kHz, between two bands, lose the most

PARAMS = SpectrogramParams()
WIDE_STEREO = SpectrogramParams(stereo=True, min_frequency=20, max_frequency=20_000)


def tone(frequency_hz: float, duration_s: float, rate: int = RATE, level: float = 0.5):  # type: ignore[no-untyped-def]
    time_s = np.arange(round(duration_s * rate)) / rate
    return (level * np.sin(2 * np.pi * frequency_hz * time_s)).astype(np.float32)[None]


def strongest_hz(waveform: np.ndarray, rate: int = RATE) -> float:
    middle = waveform[len(waveform) // 4 : 3 * len(waveform) // 4]
    spectrum = np.abs(np.fft.rfft(middle * np.hanning(len(middle))))
    return float(np.argmax(spectrum) * rate / len(middle))


@pytest.mark.parametrize("params", [PARAMS, WIDE_STEREO], ids=["10 kHz", "20 kHz"])
@pytest.mark.parametrize("num_samples", [8821, 44_100, 44_541, 100_003])
def test_mel_amplitudes_equal_torchaudios(params: SpectrogramParams, num_samples: int) -> None:
    noise = torch.randn(2, num_samples, generator=torch.Generator().manual_seed(0))
    oracle = torch.nn.Sequential(
        torchaudio.transforms.Spectrogram(
            n_fft=17640, win_length=4410, hop_length=441, power=1.0, pad_mode="reflect"
        ),
        torchaudio.transforms.MelScale(
            n_mels=512,
            sample_rate=RATE,
            f_min=params.min_frequency,
            f_max=params.max_frequency,
            n_stft=8821,
        ),
    )
    expected = oracle(noise)
    actual = SpectrogramConverter(params, "cpu").mel_amplitudes_from_waveform(noise)
    assert actual.shape == expected.shape
    assert (actual - expected).abs().max() <= MAX_RELATIVE_ERROR * expected.max()


@pytest.mark.parametrize("stereo", [False, True])
def test_image_of_a_waveform_equals_that_of_its_segment(stereo: bool) -> None:
    segment = segment_from_waveform(np.repeat(tone(440, 0.123), 1 + stereo, axis=0), RATE)
    converter = SpectrogramImageConverter(dataclasses.replace(PARAMS, stereo=stereo), "cpu")
    expected = converter.spectrogram_image_from_audio(segment)
    actual = converter.spectrogram_image_from_waveform(waveform_from_segment(segment))
    assert actual.tobytes() == expected.tobytes()
    assert actual.getexif() == expected.getexif()
    assert dict(actual.copy().getexif()) == dict(expected.getexif())


def test_a_loop_of_started_frames_is_refused() -> None:
    with pytest.raises(InputError, match="440 samples must be a multiple of hop_length=441"):
        SpectrogramConverter(PARAMS, "cpu").spectrogram_from_waveform(
            np.ones((1, 440), np.float32), circular=True
        )


def test_blocks_join_without_a_seam(monkeypatch: pytest.MonkeyPatch) -> None:
    noise = torch.randn(1, 30_000, generator=torch.Generator().manual_seed(1))
    converter = SpectrogramConverter(PARAMS, "cpu")
    whole = converter.mel_amplitudes_from_waveform(noise)
    monkeypatch.setattr("riffusion.spectrogram.analysis._FRAMES_PER_BLOCK", 7)
    blocks = converter.mel_amplitudes_from_waveform(noise)
    assert (blocks - whole).abs().max() <= MAX_RELATIVE_ERROR * whole.max()


@pytest.mark.parametrize("num_samples", [1, 2, 440, 441, 442, 8820])
def test_audio_too_short_to_reflect_has_a_spectrogram(num_samples: int) -> None:
    waveform = torch.ones(1, num_samples)
    mel = SpectrogramConverter(PARAMS, "cpu").mel_amplitudes_from_waveform(waveform)
    assert mel.shape == (1, 512, 1 + num_samples // 441)
    assert torch.isfinite(mel).all()
    assert mel.max() > 0


def test_no_samples_is_an_input_error() -> None:
    with pytest.raises(InputError, match="no samples"):
        SpectrogramConverter(PARAMS, "cpu").mel_amplitudes_from_waveform(torch.zeros(1, 0))


@pytest.mark.parametrize("rate", [8000, 11_025, 22_050, 44_100, 48_000, 96_000])
def test_any_sample_rate_is_resampled(rate: int) -> None:
    segment = segment_from_waveform(tone(1000, 1.0, rate), rate)
    converter = SpectrogramConverter(PARAMS, "cpu")
    spectrogram = converter.spectrogram_from_audio(segment)
    assert spectrogram.shape == (1, 512, 100)
    reference = converter.spectrogram_from_audio(segment_from_waveform(tone(1000, 1.0), RATE))
    strongest = int(reference[0, :, 50].argmax())
    assert int(spectrogram[0, :, 50].argmax()) == strongest
    assert spectrogram[0, strongest, 50] == pytest.approx(reference[0, strongest, 50], rel=0.01)


def test_amplitudes_of_segments_are_in_16_bit_units() -> None:
    waveform = tone(440, 0.5)
    converter = SpectrogramConverter(PARAMS, "cpu")
    segment = segment_from_waveform(waveform, RATE)
    expected = converter.mel_amplitudes_from_waveform(
        torch.from_numpy(waveform_from_segment(segment))
    )
    actual = converter.spectrogram_from_audio(segment)
    assert actual == pytest.approx(expected.numpy()[..., :50] * FULL_SCALE, rel=1e-4, abs=1e-2)


@pytest.mark.parametrize("params", [PARAMS, WIDE_STEREO], ids=["10 kHz mono", "20 kHz stereo"])
@pytest.mark.parametrize("num_frames", [1, 2, 37, 200])
def test_a_clip_and_its_image_have_equal_length(params: SpectrogramParams, num_frames: int) -> None:
    converter = SpectrogramImageConverter(params, "cpu")
    waveform = tone(330, num_frames * 0.01)
    image = converter.spectrogram_image_from_audio(segment_from_waveform(waveform, RATE))
    assert image.size == (num_frames, 512)
    assert params_from_image(image) == params
    segment = converter.audio_from_spectrogram_image(image)
    assert segment.frame_count() == num_frames * 441
    assert (segment.frame_rate, segment.sample_width) == (RATE, 2)
    assert segment.channels == (2 if params.stereo else 1)


@pytest.mark.parametrize("frequency_hz", [110.0, 440.0, 3000.0])
def test_tone_comes_back_at_its_pitch_and_level(frequency_hz: float) -> None:
    converter = SpectrogramImageConverter(PARAMS, "cpu")
    segment = segment_from_waveform(tone(frequency_hz, 1.0), RATE)
    image = converter.spectrogram_image_from_audio(segment)
    restored = converter.audio_from_spectrogram_image(image, apply_filters=False)
    waveform = waveform_from_segment(restored)[0]
    assert strongest_hz(waveform) == pytest.approx(frequency_hz, abs=MAX_TONE_ERROR_HZ)
    assert abs(restored.dBFS - segment.dBFS) < MAX_TONE_LEVEL_ERROR_DB


@pytest.mark.parametrize("rate", [8000, 22_050, 96_000])
def test_tone_keeps_its_pitch_at_other_sample_rates(rate: int) -> None:
    params = SpectrogramParams(sample_rate=rate, max_frequency=20_000, step_size_ms=7)
    converter = SpectrogramImageConverter(params, "cpu")
    image = converter.spectrogram_image_from_audio(
        segment_from_waveform(tone(440, 0.7, rate), rate)
    )
    waveform = waveform_from_segment(converter.audio_from_spectrogram_image(image))[0]
    assert len(waveform) == image.width * params.hop_length
    assert strongest_hz(waveform, rate) == pytest.approx(440, abs=MAX_TONE_ERROR_HZ)


def test_stereo_channels_stay_apart() -> None:
    converter = SpectrogramImageConverter(WIDE_STEREO, "cpu")
    waveform = np.concatenate([tone(440, 1.0), tone(880, 1.0)])
    image = converter.spectrogram_image_from_audio(segment_from_waveform(waveform, RATE))
    left, right = waveform_from_segment(converter.audio_from_spectrogram_image(image))
    assert strongest_hz(left) == pytest.approx(440, abs=MAX_TONE_ERROR_HZ)
    assert strongest_hz(right) == pytest.approx(880, abs=MAX_TONE_ERROR_HZ)


@pytest.mark.parametrize("channels", [1, 2, 3, 6])
@pytest.mark.parametrize("stereo", [False, True])
def test_any_number_of_channels_fits(channels: int, stereo: bool) -> None:
    waveform = np.repeat(tone(440, 0.2), channels, axis=0)
    segment = segment_from_waveform(waveform, RATE)
    converter = SpectrogramImageConverter(dataclasses.replace(PARAMS, stereo=stereo), "cpu")
    red, green, blue = np.asarray(converter.spectrogram_image_from_audio(segment)).T
    assert green.min() == 0
    assert np.array_equal(green, blue)
    assert np.array_equal(red, np.zeros_like(red) if stereo else green)


def test_the_same_image_gives_the_same_audio() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (512, 40, 3), dtype=np.uint8)
    converter = SpectrogramImageConverter(PARAMS, "cpu")
    torch.manual_seed(1)
    first = converter.audio_from_spectrogram_image(Image.fromarray(noise))
    torch.manual_seed(2)
    second = SpectrogramImageConverter(PARAMS, "cpu").audio_from_spectrogram_image(
        Image.fromarray(noise)
    )
    assert first.raw_data == second.raw_data


def test_silence_stays_silence() -> None:
    converter = SpectrogramImageConverter(PARAMS, "cpu")
    segment = segment_from_waveform(np.zeros((1, RATE), dtype=np.float32), RATE)
    image = converter.spectrogram_image_from_audio(segment)
    assert image.getextrema() == ((255, 255),) * 3
    assert converter.audio_from_spectrogram_image(image).max == 0


def test_clipped_audio_converts() -> None:
    clipped = np.clip(tone(220, 0.5, level=4.0), -1, 1)
    converter = SpectrogramImageConverter(PARAMS, "cpu")
    image = converter.spectrogram_image_from_audio(segment_from_waveform(clipped, RATE))
    restored = converter.audio_from_spectrogram_image(image)
    assert strongest_hz(waveform_from_segment(restored)[0]) == pytest.approx(
        220, abs=MAX_TONE_ERROR_HZ
    )


@pytest.mark.parametrize("size", [(1, 1), (30, 256), (30, 700)])
def test_image_of_another_height_becomes_audio(size: tuple[int, int]) -> None:
    image = Image.effect_noise(size, 60)
    segment = SpectrogramImageConverter(PARAMS, "cpu").audio_from_spectrogram_image(image)
    assert segment.frame_count() == size[0] * 441
    assert segment.max > 0


@pytest.mark.parametrize("stereo", [False, True])
@pytest.mark.parametrize(("count", "lfe"), [(3, None), (6, 3), (7, 3), (8, 3)])
def test_surround_is_drawn_without_its_low_frequency_effects(
    count: int, lfe: int | None, stereo: bool
) -> None:
    params = SpectrogramParams(stereo=stereo)
    channels = np.concatenate([tone(400.0 * (n + 1), 0.5, level=0.1) for n in range(count)])
    converter = SpectrogramImageConverter(params, "cpu")
    image = converter.spectrogram_image_from_audio(segment_from_waveform(channels, RATE))
    darkness = 255 - np.asarray(image)[::-1, :, 1:].min(axis=(1, 2)).astype(int)
    mel = 512 * np.log1p(400.0 * (np.arange(count) + 1) / 700) / np.log1p(10_000 / 700)
    for number, row in enumerate(np.round(mel).astype(int)):
        heard = darkness[row - 2 : row + 3].max()
        assert heard < 100 if number == lfe else heard > 150
