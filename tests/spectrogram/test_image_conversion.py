"""Images with other parameters: tone, length and channels stay, as in an analysis of the audio."""

import numpy as np
import pytest
from PIL import Image

from riffusion.errors import InputError
from riffusion.spectrogram.image_conversion import convert_image
from riffusion.spectrogram.image_converter import SpectrogramImageConverter
from riffusion.spectrogram.params import SpectrogramParams

WANTED = {
    "usual": SpectrogramParams(),
    "stereo": SpectrogramParams(stereo=True),
    "small": SpectrogramParams(num_frequencies=256, max_frequency=8000, step_size_ms=8),
}
OWN = {
    "half step": SpectrogramParams(step_size_ms=5),
    "double step": SpectrogramParams(step_size_ms=20),
    "step of 7 ms": SpectrogramParams(step_size_ms=7),
    "high range": SpectrogramParams(min_frequency=20, max_frequency=20_000),
    "low range": SpectrogramParams(max_frequency=4000),
    "high and stereo": SpectrogramParams(stereo=True, step_size_ms=5, max_frequency=20_000),
    "few bands": SpectrogramParams(num_frequencies=256),
    "many bands": SpectrogramParams(num_frequencies=1024),
    "lower rate": SpectrogramParams(sample_rate=22_050),
    "Slaney's scale": SpectrogramParams(mel_scale_type="slaney", mel_scale_norm="slaney"),
    "square root": SpectrogramParams(power_for_image=0.5),
}
TONE_HZ = 1000.0
DURATION_S = 1.5
MAX_TONE_ERROR = 0.01  # relative; a sixth of a semitone
MAX_PIXEL_ERROR = 6.0  # mean grey levels, to an analysis of the audio itself


def tone_image(
    params: SpectrogramParams, hz: float = TONE_HZ, gains: tuple[float, float] = (1, 1)
) -> Image.Image:
    time_s = np.arange(round(DURATION_S * params.sample_rate)) / params.sample_rate
    tone = (0.3 * np.sin(2 * np.pi * hz * time_s)).astype(np.float32)
    waveform = np.stack([tone * gain for gain in gains]) if params.stereo else tone[None]
    converter = SpectrogramImageConverter(params, "cpu")
    return converter.spectrogram_image_from_waveform(waveform.astype(np.float32))


def tones_hz(image: Image.Image, params: SpectrogramParams) -> list[float]:
    """The loudest frequency of each channel of an image's audio."""
    converter = SpectrogramImageConverter(params, "cpu")
    waveform = converter.waveform_from_spectrogram_image(image, max_value=1e6)
    bins = np.abs(np.fft.rfft(waveform)).argmax(-1)
    return [float(bin_) * params.sample_rate / waveform.shape[-1] for bin_ in bins]


@pytest.mark.parametrize("wanted", WANTED)
@pytest.mark.parametrize("own", OWN)
def test_tone_length_and_channels_stay(
    own: str, wanted: str, caplog: pytest.LogCaptureFixture
) -> None:
    params = WANTED[wanted]
    converted = convert_image(tone_image(OWN[own]), OWN[own], params)
    expected = tone_image(params)
    assert converted.height == params.num_frequencies
    assert abs(converted.width - expected.width) <= 2  # a started frame of 20 ms counts
    tones = tones_hz(converted, params)
    assert tones == pytest.approx([TONE_HZ] * (1 + params.stereo), rel=MAX_TONE_ERROR)
    width = min(converted.width, expected.width)
    box = (0, 0, width, params.num_frequencies)
    difference = np.asarray(converted.crop(box)).astype(int) - np.asarray(expected.crop(box))
    assert np.abs(difference).mean() < MAX_PIXEL_ERROR
    changed = [record for record in caplog.records if "converted from" in record.getMessage()]
    assert len(changed) == (0 if own == "lower rate" and wanted == "usual" else 1)


def test_equal_parameters_keep_the_pixels(caplog: pytest.LogCaptureFixture) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (512, 16, 3)).astype(np.uint8)
    image = Image.fromarray(pixels)
    sharper = SpectrogramParams(window_duration_ms=50, num_griffin_lim_iters=8)
    for params in (SpectrogramParams(), sharper):
        converted = convert_image(image, params, SpectrogramParams())
        assert np.array_equal(np.asarray(converted), pixels)
    assert not caplog.records


def test_one_side_of_stereo_is_heard_in_mono_and_in_stereo() -> None:
    own = SpectrogramParams(stereo=True, max_frequency=20_000)
    left = tone_image(own, gains=(1, 0))
    assert tones_hz(convert_image(left, own, WANTED["usual"]), WANTED["usual"]) == pytest.approx(
        [TONE_HZ], rel=MAX_TONE_ERROR
    )
    pixels = np.asarray(convert_image(left, own, WANTED["stereo"]))
    assert pixels[..., 1].min() == 0  # left, in G
    assert pixels[..., 2].min() > 250  # right, in B, is silent


def test_the_darkest_pixel_stays_as_dark() -> None:
    own = OWN["half step"]
    for pixel in (0, 100, 255):
        image = Image.new("RGB", (8, 512), "white")
        image.paste((pixel,) * 3, (0, 200, 8, 204))
        converted = np.asarray(convert_image(image, own, WANTED["small"]))
        assert converted.min() == pixel


@pytest.mark.parametrize("hz", [12_000.0, 15_000.0, 19_000.0])
def test_an_image_with_nothing_in_the_range_is_refused(hz: float) -> None:
    own = OWN["high range"]
    with pytest.raises(InputError, match="max_frequency=10000 Hz.*20 to 20000 Hz; use another"):
        convert_image(tone_image(own, hz), own, WANTED["usual"])


def test_one_frame_and_silence_are_converted() -> None:
    white = Image.new("RGB", (1, 512), "white")
    for own in OWN.values():
        converted = convert_image(white, own, WANTED["small"])
        assert converted.size[0] >= 1
        assert np.asarray(converted).min() == 255
