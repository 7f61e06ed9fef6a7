"""Long names, long local files, and messages that name options."""

import os
from pathlib import Path

import numpy as np
import pytest
import soundfile
import typer
from PIL import Image

from riffusion.cli.app import app
from riffusion.cli.option_names import message_by_option, message_by_option_names
from riffusion.cli.outputs import path_with_seed
from riffusion.errors import InputError, RecordedParamsError
from riffusion.io.files import MAX_NAME_BYTES, short_name
from riffusion.spectrogram.params import ExifTags, SpectrogramParams
from tests.cli.conftest import Run, WriteRecording

LONG_NAMES = ["a" * 236, "é" * 118, "音" * 78, "x" * 251]


@pytest.mark.parametrize("stem", LONG_NAMES)
def test_names_of_clips_and_images_fit_the_file_system(
    stem: str, run: Run, write_recording: WriteRecording, tmp_path: Path
) -> None:
    source = write_recording("in/tone.wav")
    folder = source.parent
    source.rename(folder / f"{stem}.wav")
    (folder / f"{stem[:-1]}b.wav").write_bytes((folder / f"{stem}.wav").read_bytes())
    clips = ("--duration-ms", 200, "--num-clips-per-file", 2, "--extension", "flac")
    result = run(
        "sample-clips-batch", "--audio-dir", folder, "--output-dir", tmp_path / "c", *clips
    )
    assert result.code == 0, result.err
    names = [path.name for path in (tmp_path / "c").iterdir()]
    assert len(names) == 4
    assert all(name.startswith(stem[:40]) and name.endswith("_200_ms.flac") for name in names)
    options = ("--output-dir", tmp_path / "i", "--image-extension", "webp", "--device", "cpu")
    result = run("audio-to-images-batch", "--audio-dir", folder, *options)
    assert result.code == 0, result.err
    assert len(list((tmp_path / "i").iterdir())) == 2


def test_short_names_stay_and_long_ones_stay_apart() -> None:
    assert short_name("a", "_1.mp3") == "a_1.mp3"
    assert short_name("a" * 249, "_1.mp3") == "a" * 249 + "_1.mp3"
    one, other = (short_name("a" * 250, "_1.mp3", unique) for unique in ("x", "y"))
    assert one != other
    assert len(one) == len(other) == MAX_NAME_BYTES
    assert len(os.fsencode(path_with_seed(Path("é" * 125 + ".mp3"), 2**63 - 1).name)) <= 255


def test_a_long_local_recording_can_be_the_start(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "long.wav"
    samples = np.zeros((60 * 96_000, 2), dtype=np.float32)
    soundfile.write(path, samples, 96_000, subtype="PCM_24")
    assert path.stat().st_size > 30 * 2**20
    output = ("-o", tmp_path / "clip.wav", "--mask-image", "no_such_mask")
    result = run("generate", "bells", "--init-audio", path, *output)
    assert result.code == 2
    assert "no_such_mask" in result.err  # the recording was accepted
    soundfile.write(path, samples[: 44_100 * 61 // 10], 4_400, subtype="PCM_24")
    result = run("generate", "bells", "--init-audio", path, *output)
    assert result.code == 2
    assert result.err.startswith("error: --init-audio: ")
    assert "longer than 60 s" in result.err


@pytest.mark.parametrize("weights", ["(piano:1000)", "(a: -101 )", "((a:60):60)"])
def test_prompt_weights_are_checked_before_the_checkpoint_is_loaded(
    weights: str, run: Run, tmp_path: Path
) -> None:
    missing = ("--checkpoint", "hub-owner/no-such-checkpoint", "-o", tmp_path / "a.wav")
    for command in (("generate", weights), ("jam", weights)):
        result = run(*command, *missing)
        assert (result.code, "must be from -100" in result.err) == (2, True), result.err
    result = run("interpolate", "a", weights, *missing)
    assert (result.code, "must be from -100" in result.err) == (2, True), result.err


def test_messages_name_options(run: Run, tmp_path: Path) -> None:
    for seconds, name in ((1, "short.wav"), (3, "silent.wav")):
        path = tmp_path / name
        soundfile.write(path, np.zeros(seconds * 22_050), 22_050)
        result = run("seed-image", "--audio", path, "-o", tmp_path / "seed.png")
        assert result.code == 2
        assert "--tempo" in result.err
        assert "tempo_bpm" not in result.err


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("no tempo; pass tempo_bpm", "no tempo; pass --tempo"),
        ("width=0 must be at least 1", "--width=0 must be at least 1"),
        ("num_frames=0 must be at least 1", "--width=0 must be at least 1"),
        ("path='a/tempo_bpm/width=3.wav' is bad", "path='a/tempo_bpm/width=3.wav' is bad"),
        ("see tempo_bpm.wav and x/tempo_bpm", "see tempo_bpm.wav and x/tempo_bpm"),
        ("path='EXIF.wav' has no tempo_bpm", "path='EXIF.wav' has no --tempo"),
        ("a width of other_name", "a width of other_name"),
    ],
)
def test_names_of_parameters_become_options(message: str, expected: str) -> None:
    options = {"tempo": "--tempo", "width": "--width"}
    assert message_by_option_names(message, options) == expected


@pytest.mark.parametrize(
    ("name", "value"),
    [("sample_rate", 7), ("step_size_ms", 5000), ("min_frequency", -1), ("num_frequencies", 0)],
)
def test_parameters_that_an_image_holds_are_not_options(
    name: str, value: int, run: Run, tmp_path: Path
) -> None:
    exif = SpectrogramParams().to_exif() | {ExifTags[name.upper()].value: value}
    image = Image.new("RGB", (4, 512))
    image.getexif().update(exif)
    image.save(tmp_path / "a.png", exif=image.getexif())
    result = run("image-to-audio", "--image", tmp_path / "a.png", "--audio", tmp_path / "a.wav")
    assert result.code == 2
    assert f" {name}={value} must be" in result.err


@pytest.mark.parametrize("name", ["sample_rate", "step_size_ms", "min_frequency"])
def test_errors_say_whether_they_name_arguments(name: str, tmp_path: Path) -> None:
    command = typer.main.get_command(app).commands["image-to-audio"]  # type: ignore[attr-defined]
    with pytest.raises(InputError) as given:
        SpectrogramParams(**{name: -5})
    option = f"--{name.replace('_', '-')}"
    assert message_by_option(given.value, command).startswith(f"{option}=-5 must be from")
    (tmp_path / "spectrogram_params.json").write_text(f'{{"{name}": -5}}', encoding="utf-8")
    with pytest.raises(RecordedParamsError) as recorded:
        SpectrogramParams.load(tmp_path)
    assert f" {name}=-5 must be from" in message_by_option(recorded.value, command)
    about_field = RecordedParamsError(f"its EXIF holds {name}=-5", "image")
    assert message_by_option(about_field, command) == f"--image: its EXIF holds {name}=-5"
