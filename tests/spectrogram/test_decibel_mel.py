"""Images in decibels: librosa's mel spectrograms, and audio that has them."""

import dataclasses

import numpy as np
import pytest
from PIL import Image

from riffusion.audio import Waveform
from riffusion.audio.compiled_librosa import load_librosa
from riffusion.errors import RecordedParamsError
from riffusion.spectrogram.decibel_mel import DecibelImageConverter, DecibelMel

MELS = [
    DecibelMel(x_res=96),
    DecibelMel(x_res=64, y_res=512, n_fft=2000),
    DecibelMel(x_res=80, y_res=64, hop_length=256, n_fft=1024, sample_rate=44_100, top_db=60),
]
ROUNDED_OTHERWISE = 0.001
"""Share of pixels that may differ by one grey level: both compute in single precision."""
MEAN_ERROR_DB = 0.6
"""Mean error of the audio's bands down to -50 dB, for sounds with attacks and partials. librosa's
own inverse has 0.9 to 4 dB here."""


def music(mel: DecibelMel, gain: float = 0.2) -> Waveform:
    """Decaying notes of several partials with noisy attacks."""
    rng = np.random.default_rng(0)
    t = np.arange(mel.num_samples) / mel.sample_rate
    sound = np.zeros(mel.num_samples)
    for start_s in np.arange(0.05, t[-1], 0.25):
        pitch_hz = 110 * 2 ** (rng.integers(0, 30) / 12)
        after = np.maximum(t - start_s, 0)
        for partial in range(1, 6):
            sound += (
                (t > start_s)
                * np.sin(2 * np.pi * partial * pitch_hz * after)
                * np.exp(-after * 3 * partial)
            )
        sound += (t > start_s) * rng.standard_normal(t.size) * np.exp(-after * 60)
    return (gain * sound[None] / np.abs(sound).max()).astype(np.float32)


def librosa_image(mel: DecibelMel, waveform: Waveform) -> np.ndarray:
    librosa = load_librosa()
    power = librosa.feature.melspectrogram(
        y=waveform[0, : mel.num_samples - 1],
        sr=mel.sample_rate,
        n_fft=mel.n_fft,
        hop_length=mel.hop_length,
        n_mels=mel.y_res,
    )
    levels_db = librosa.power_to_db(power, ref=np.max, top_db=mel.top_db)
    return np.rint((levels_db / mel.top_db + 1).clip(0, 1) * 255).astype(np.uint8)


@pytest.mark.parametrize("mel", MELS, ids=str)
@pytest.mark.parametrize("gain", [0.9, 1e-4])
@pytest.mark.filterwarnings("ignore:Empty filters")
def test_images_are_librosas(mel: DecibelMel, gain: float) -> None:
    waveform = music(mel, gain)
    image = DecibelImageConverter(mel).image_from_waveform(waveform)
    assert (image.mode, image.size) == ("L", (mel.x_res, mel.y_res))
    expected = librosa_image(mel, waveform).astype(int)
    away = np.abs(np.asarray(image) - expected)
    assert away.max() <= 1
    assert (away > 0).mean() <= ROUNDED_OTHERWISE
    assert len(np.unique(expected)) > 100


@pytest.mark.parametrize("mel", MELS, ids=str)
def test_audio_has_the_image_that_it_was_made_from(mel: DecibelMel) -> None:
    converter = DecibelImageConverter(mel)
    image = converter.image_from_waveform(music(mel))
    waveform = converter.waveform_from_image(image)
    assert waveform.shape == (1, mel.num_samples)
    assert waveform.dtype == np.float32
    again = converter.image_from_waveform(waveform)
    wanted, heard = (np.asarray(each, float) * mel.top_db / 255 for each in (image, again))
    is_loud = wanted > mel.top_db - 50
    assert np.abs(heard - wanted)[is_loud].mean() < MEAN_ERROR_DB
    assert np.array_equal(converter.waveform_from_image(image), waveform)


def test_a_tone_keeps_its_pitch() -> None:
    mel = DecibelMel(x_res=64)
    t = np.arange(mel.num_samples) / mel.sample_rate
    tone = (0.3 * np.sin(2 * np.pi * 880 * t)).astype(np.float32)[None]
    converter = DecibelImageConverter(mel)
    waveform = converter.waveform_from_image(converter.image_from_waveform(tone))
    spectrum = np.abs(np.fft.rfft(waveform[0] * np.hanning(mel.num_samples)))
    peak_hz = spectrum.argmax() * mel.sample_rate / mel.num_samples
    assert peak_hz == pytest.approx(880, abs=5)  # bins of 10.8 Hz in the image


def test_silence_is_black_and_black_is_silence() -> None:
    mel = dataclasses.replace(MELS[0], x_res=32)
    converter = DecibelImageConverter(mel)
    silence = np.zeros((1, mel.num_samples), np.float32)
    image = converter.image_from_waveform(silence)
    assert np.asarray(image).max() == 0
    assert np.array_equal(converter.waveform_from_image(image), silence)
    half = Image.fromarray(np.repeat([[0] * 16 + [255] * 16], mel.y_res, axis=0).astype(np.uint8))
    loud = converter.waveform_from_image(half)[0]
    middle = mel.num_samples // 2
    assert np.abs(loud[: middle - mel.n_fft]).max() < 1e-4 * np.abs(loud[middle:]).max()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"x_res": 0}, "x_res=0 must be from 1 to 8192"),
        ({"y_res": 2.5}, "y_res=2.5 must be a whole number"),
        ({"n_iter": True}, "n_iter=True must be a whole number"),
        ({"top_db": None}, "top_db=None must be a whole number"),
        ({"top_db": float("nan")}, "top_db=nan must be a whole number"),
        ({"n_fft": 2047}, "n_fft=2047 must be even"),
        ({"hop_length": 4096}, "hop_length=4096 must be below n_fft=2048"),
    ],
)
def test_values_out_of_range_are_refused(values: dict[str, float], message: str) -> None:
    with pytest.raises(RecordedParamsError, match=message):
        DecibelMel(**values)  # type: ignore[arg-type] # that is what is tested
