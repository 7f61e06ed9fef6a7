"""Recordings → images: compared with the image converter, known signals and known counts."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from riffusion.audio import read_audio
from riffusion.audio.compiled_librosa import load_librosa
from riffusion.audio.segments import samples_from_segment, segment_from_samples
from riffusion.datasets.folder import DatasetFolder
from riffusion.datasets.from_audio.formats import PRESETS, ImageFormat
from riffusion.spectrogram.image_converter import SpectrogramImageConverter
from riffusion.spectrogram.params import SpectrogramParams
from tests.datasets.recordings import SMALL, build, contents, sweep, tone, write

MAX_ROWS_OFF = 1
"""Mel bands: a tone between two bands may appear in either."""
LEVEL_TOLERANCE = 2
"""Grey levels: pydub mixes to 16-bit integers, this code to floats."""


def images_of(directory: Path, split: str = "train") -> list[np.ndarray]:
    """Pixels of all images, in the order of the rows."""
    folder = DatasetFolder(directory)
    images = []
    for row in folder.rows(split):  # type: ignore[arg-type]
        with Image.open(folder.image_path(split, row)) as image:  # type: ignore[arg-type]
            images.append(np.asarray(image).astype(int))
    return images


def strongest_row(pixels: np.ndarray) -> int:
    """The darkest mel band, counted from the bottom."""
    return len(pixels) - 1 - int(pixels.mean(axis=1).argmin())


def mel_band(frequency_hz: float, params: SpectrogramParams) -> float:
    """The band whose filter peaks at a frequency, by the HTK formula."""
    mel_hz = lambda hz: 2595 * np.log10(1 + hz / 700)  # noqa: E731
    low, high = mel_hz(params.min_frequency), mel_hz(params.max_frequency)
    return float((mel_hz(frequency_hz) - low) / (high - low) * (params.num_frequencies + 1) - 1)


def test_an_image_equals_that_of_the_converter(tmp_path: Path) -> None:
    song = write(tmp_path / "in/song.wav", sweep(11, 44100), 44100)
    report = build(tmp_path / "in", tmp_path / "out", PRESETS["riffusion"])
    assert report.num_images == {"train": 2}
    samples = samples_from_segment(read_audio(song))
    converter = SpectrogramImageConverter(SpectrogramParams(), "cpu")
    for number in range(2):
        part = samples[:, number * 225_792 : (number + 1) * 225_792]
        expected = converter.spectrogram_image_from_audio(segment_from_samples(part, 44100))
        with Image.open(tmp_path / f"out/train/000000/{number:04d}.png") as image:
            assert image.mode == "L"
            assert image.size == (512, 512)
            assert np.array_equal(image, expected.getchannel(0))
            assert SpectrogramParams.from_exif(image.getexif()) == SpectrogramParams()
            assert SpectrogramParams.max_value_from_exif(image.getexif()) == pytest.approx(
                SpectrogramParams.max_value_from_exif(expected.getexif())
            )


@pytest.mark.parametrize("suffix", ["wav", "flac", "mp3", "ogg", "m4a"])
@pytest.mark.parametrize("channels", [1, 2])
def test_any_format_and_rate(tmp_path: Path, suffix: str, channels: int) -> None:
    for rate in (11025, 48000):
        wave = np.repeat(tone(1000, 1.0, rate), channels, axis=0)
        write(tmp_path / f"in/{rate}.{suffix}", wave, rate)
    build(tmp_path / "in", tmp_path / "out", validation_share=0)
    images = images_of(tmp_path / "out")
    assert [image.shape for image in images] == [(64, 32)] * 6
    expected = mel_band(1000, SMALL.params)
    assert all(abs(strongest_row(image) - expected) <= MAX_ROWS_OFF for image in images)


def test_the_preset_of_audio_diffusion(tmp_path: Path) -> None:
    write(tmp_path / "in/tone.wav", tone(3000, 12.0, 44100), 44100)
    preset = PRESETS["audio-diffusion"]
    build(tmp_path / "in", tmp_path / "out", preset)
    images = images_of(tmp_path / "out")
    assert [image.shape for image in images] == [(256, 256)] * 2
    assert (preset.params.n_fft, preset.params.hop_length) == (2050, 507)
    peaks_hz = load_librosa().mel_frequencies(258, fmin=0, fmax=11025)[1:-1]
    expected = int(np.abs(peaks_hz - 3000).argmin())
    assert all(abs(strongest_row(image) - expected) <= MAX_ROWS_OFF for image in images)


def test_stereo_is_left_in_green_and_right_in_blue(tmp_path: Path) -> None:
    wave = np.concatenate([tone(500, 0.4), tone(2000, 0.4)])
    write(tmp_path / "in/wide.wav", wave)
    write(tmp_path / "in/narrow.wav", tone(500, 0.4))
    params = SpectrogramParams(**(vars(SMALL.params) | {"stereo": True}))
    build(tmp_path / "in", tmp_path / "out", ImageFormat(params, 32), validation_share=0)
    narrow, wide = images_of(tmp_path / "out")
    assert wide.shape == narrow.shape == (64, 32, 3)
    assert not wide[..., 0].any()
    for plane, hz in ((1, 500), (2, 2000)):
        assert abs(strongest_row(wide[..., plane]) - mel_band(hz, params)) <= MAX_ROWS_OFF
    assert np.array_equal(narrow[..., 1], narrow[..., 2])


def test_stereo_is_mixed_for_mono_images(tmp_path: Path) -> None:
    song = write(tmp_path / "in/song.wav", sweep(0.4, channels=2))
    build(tmp_path / "in", tmp_path / "out")
    samples = samples_from_segment(read_audio(song))[:, : SMALL.num_samples]
    converter = SpectrogramImageConverter(SMALL.params, "cpu")
    expected = converter.spectrogram_image_from_audio(segment_from_samples(samples, 8000))
    difference = images_of(tmp_path / "out")[0] - np.asarray(expected).astype(int)[..., 0]
    loud = np.asarray(expected)[..., 0] < 200  # elsewhere there are only rounding errors
    assert loud.any()
    assert np.abs(difference[loud]).max() <= LEVEL_TOLERANCE


def test_silence_and_clipping_are_left_out(tmp_path: Path) -> None:
    length = SMALL.num_samples
    slices = {
        "music": tone(500, 0.32),
        "silence": np.zeros((1, length), np.float32),
        "hiss": tone(500, 0.32, level=3e-4),
        "clipped": np.clip(tone(500, 0.32, level=3.0), -1, 1),
        "at full scale": tone(510, 0.32, level=1.0),
    }
    assert all(part.shape == (1, length) for part in slices.values())
    write(tmp_path / "in/all.wav", np.concatenate(list(slices.values()), axis=1))
    report = build(tmp_path / "in", tmp_path / "a")
    assert report.left_out == {"silent": 2, "clipped": 1}
    starts = [row.extras["start_s"] for row in DatasetFolder(tmp_path / "a").rows("train")]
    assert starts == [0.0, 1.28]
    report = build(tmp_path / "in", tmp_path / "b", silence_db=-80, max_clipping=1)
    assert report.left_out == {"silent": 1}
    report = build(tmp_path / "in", tmp_path / "c", silence_db=-10)
    assert report.left_out == {"silent": 3, "clipped": 1}  # the music is a sine at -13.5 dB


def test_the_remainder_at_the_end_is_dropped_or_kept(tmp_path: Path) -> None:
    write(tmp_path / "in/song.wav", sweep(0.8))
    write(tmp_path / "in/tiny.wav", sweep(0.2))
    report = build(tmp_path / "in", tmp_path / "drop", validation_share=0)
    assert report.num_images == {"train": 2}
    assert report.left_out == {"too short": 1}
    report = build(tmp_path / "in", tmp_path / "keep", validation_share=0, keep_rest=True)
    assert (report.num_images, report.left_out) == ({"train": 4}, {})
    images = images_of(tmp_path / "keep")
    assert (images[2][:, -5:] == 255).all()  # silence after 0.16 s
    assert (images[2][:, :10] < 255).any()
    report = build(tmp_path / "in", tmp_path / "overlap", validation_share=0, overlap=0.5)
    assert report.num_images == {"train": 4}
    rows = DatasetFolder(tmp_path / "overlap").rows("train")
    assert [row.extras["start_s"] for row in rows] == [0.0, 0.16, 0.32, 0.48]


def test_all_slices_of_a_recording_go_to_one_split(tmp_path: Path) -> None:
    for number in range(10):
        write(tmp_path / f"in/{number}.wav", sweep(0.7))
    report = build(tmp_path / "in", tmp_path / "out", validation_share=0.3)
    assert report.num_files == {"train": 7, "validation": 3}
    folder = DatasetFolder(tmp_path / "out")
    train, validation = ({row.source for row in folder.rows(s)} for s in ("train", "validation"))  # type: ignore[arg-type]
    assert (len(train), len(validation)) == (7, 3)
    assert not train & validation
    build(tmp_path / "in", tmp_path / "other", validation_share=0.3, seed=1)
    assert {
        row.source for row in DatasetFolder(tmp_path / "other").rows("validation")
    } != validation


def test_names_that_differ_only_in_the_extension(tmp_path: Path) -> None:
    write(tmp_path / "in/a.wav", tone(500, 0.4))
    write(tmp_path / "in/a.flac", tone(2000, 0.4))
    build(tmp_path / "in", tmp_path / "out", validation_share=0)
    flac, wav = images_of(tmp_path / "out")
    assert strongest_row(flac) > strongest_row(wav)
    rows = DatasetFolder(tmp_path / "out").rows("train")
    assert [row.source for row in rows] == ["a.flac", "a.wav"]


def test_the_same_recordings_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("x/a", "x/b", "y/c"):
        write(tmp_path / f"in/{name}.mp3", sweep(0.7, channels=2))
    build(tmp_path / "in", tmp_path / "one")
    build(tmp_path / "in", tmp_path / "two")
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
