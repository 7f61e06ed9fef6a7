"""audio-to-image, image-to-audio, print-exif and seed-image."""

import logging
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from riffusion.audio import num_samples, read_audio
from riffusion.cli import audio_to_image, image_to_audio, print_exif
from riffusion.io.images import read_image
from riffusion.spectrogram.params import SpectrogramParams
from tests.cli.conftest import Run, WriteRecording


@pytest.mark.parametrize("stereo", [False, True])
def test_audio_to_image_and_back(
    stereo: bool,
    tmp_path: Path,
    write_recording: WriteRecording,
    capsys: pytest.CaptureFixture[str],
) -> None:
    song = write_recording("song.wav", duration_s=0.567, rate=48000, channels=2)
    image_path = tmp_path / "new/song.png"
    audio_to_image(
        audio=str(song),
        image=str(image_path),
        step_size_ms=10,
        num_frequencies=128,
        min_frequency=0,
        max_frequency=10000,
        stereo=stereo,
        device="cpu",
    )
    image = read_image(image_path)
    assert image.mode == "RGB"
    assert image.size == (57, 128)
    red, green, blue = np.asarray(image).transpose(2, 0, 1)
    assert np.array_equal(green, blue)
    assert np.all(red == 0) if stereo else np.array_equal(red, green)
    params = SpectrogramParams.from_exif(image.getexif())
    assert params == SpectrogramParams(stereo=stereo, num_frequencies=128)

    audio = tmp_path / "back.wav"
    image_to_audio(image=str(image_path), audio=str(audio), device="cpu")
    segment = read_audio(audio)
    assert (segment.frame_rate, segment.channels) == (44100, 2 if stereo else 1)
    assert num_samples(segment) == 57 * 441
    assert f"Wrote {audio} (0.57 seconds)" in capsys.readouterr().out

    print_exif(image=str(image_path))
    out = capsys.readouterr().out
    assert "NUM_FREQUENCIES      =             128\n" in out
    assert "SAMPLE_RATE          =           44100\n" in out
    assert "POWER_FOR_IMAGE      =            0.25\n" in out


def test_an_image_without_parameters_gets_the_usual_ones_with_a_warning(
    tmp_path: Path, run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "photo.jpg"
    exif = Image.Exif()
    exif[0x010F] = "camera"
    Image.new("RGB", (20, 512), "grey").save(path, exif=exif)
    with caplog.at_level(logging.WARNING, "riffusion"):
        result = run(
            "image-to-audio", "--image", path, "--audio", tmp_path / "a.flac",
            "--stereo", "--sample-rate", 22050, "--step-size-ms", 20,
        )  # fmt: skip
    assert result.code == 0
    assert "no spectrogram parameters" in caplog.text
    assert "sample_rate=22050" in caplog.text
    segment = read_audio(tmp_path / "a.flac")
    assert (segment.frame_rate, segment.channels) == (22050, 2)
    assert num_samples(segment) == 20 * 441


def test_exif_takes_precedence_over_options_with_a_warning(
    tmp_path: Path, write_recording: WriteRecording, run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    song, image_path = write_recording("a.wav", duration_s=0.3), tmp_path / "a.webp"
    assert run("audio-to-image", "--audio", song, "--image", image_path).code == 0
    with caplog.at_level(logging.WARNING, "riffusion"):
        result = run(
            "image-to-audio", "--image", image_path, "--audio", tmp_path / "b.wav", "--stereo"
        )
    assert result.code == 0
    assert "stereo=False" in caplog.text
    assert read_audio(tmp_path / "b.wav").channels == 1


def test_print_exif_ignores_other_tags(tmp_path: Path, run: Run) -> None:
    path = tmp_path / "a.jpg"
    exif = Image.Exif()
    exif.update({0x010F: "camera", **SpectrogramParams().to_exif(max_value=12.5)})
    Image.new("RGB", (8, 8)).save(path, exif=exif)
    result = run("print-exif", "--image", path)
    assert result.code == 0
    assert "camera" not in result.out
    assert "MAX_VALUE            =            12.5\n" in result.out


def test_output_is_overwritten_whole(
    tmp_path: Path, write_recording: WriteRecording, run: Run
) -> None:
    song, image_path = write_recording("a.wav", duration_s=0.3), tmp_path / "a.png"
    image_path.write_bytes(b"old")
    assert run("audio-to-image", "--audio", song, "--image", image_path).code == 0
    assert read_image(image_path).size == (30, 512)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "a.wav"]


def test_seed_image_of_a_style(tmp_path: Path, run: Run) -> None:
    arguments = ("seed-image", "--style", "og_beat", "--tempo", 150, "--beats", 2, "--key", "Em")
    assert run(*arguments, "-o", tmp_path / "a.png").code == 0
    image = read_image(tmp_path / "a.png")
    assert image.size == (80, 512)  # 2 beats at 150 bpm last 0.8 s
    assert SpectrogramParams.from_exif(image.getexif()) == SpectrogramParams()


def test_seed_image_from_audio(tmp_path: Path, write_recording: WriteRecording, run: Run) -> None:
    song = write_recording("song.wav", duration_s=1.5)
    result = run(
        "seed-image", "--audio", song, "--tempo", 120, "--beats", 2, "--width", 96,
        "-o", tmp_path / "a.png",
    )  # fmt: skip
    assert result.code == 0
    assert read_image(tmp_path / "a.png").size == (96, 512)


def test_seed_image_list(run: Run) -> None:
    result = run("seed-image", "--list")
    assert result.code == 0
    for name in ("og_beat", "agile", "marim", "motorway", "vibes", "mask_gradient_dark"):
        assert name in result.out


@pytest.mark.parametrize("num_bytes", [20, 60, 100])
def test_damaged_exif_takes_one_line_on_stderr(num_bytes: int, tmp_path: Path) -> None:
    """Pillow warns about it, too, in two lines that show its own code."""
    exif = Image.Exif()
    exif.update(SpectrogramParams().to_exif(1.0))
    path = tmp_path / "damaged.jpg"
    Image.new("L", (8, 512), 255).save(path, exif=exif.tobytes()[:num_bytes])
    command = [sys.executable, "-m", "riffusion", "print-exif", "--image", str(path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    warning, error = done.stderr.splitlines()
    assert warning.startswith("warning: the image's EXIF is damaged (")
    assert error.startswith(f"error: path='{path}' has no spectrogram parameters in its EXIF; ")
