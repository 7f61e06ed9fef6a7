"""Impossible requests are refused in one line, with exit code 2, before any expensive work."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest
from PIL import Image

from riffusion.cli import options, outputs, progress, sample_clips
from riffusion.cli.outputs import check_output_dir
from riffusion.datatypes import SchedulerName
from riffusion.errors import InputError
from riffusion.spectrogram.params import ExifTags, SpectrogramParams
from tests.cli.conftest import Run, WriteRecording
from tests.patience import PATIENCE_S


def _no_model(*_: object, **__: object) -> None:
    raise AssertionError("the checkpoint was loaded")


@pytest.fixture
def files(tmp_path: Path, write_recording: WriteRecording) -> Path:
    """A folder with good and bad inputs."""
    write_recording("good.wav", duration_s=0.3)
    write_recording("many.wav", duration_s=0.1, channels=7)
    (tmp_path / "empty.wav").touch()
    (tmp_path / "text.mp3").write_text("this is a letter, not a song\n" * 50)
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    (tmp_path / "list.json").write_text("[1, 2]")
    (tmp_path / "bad.json").write_text("{'start': 1}")
    (tmp_path / "folder.mp3").mkdir()
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "void").mkdir()
    Image.new("RGB", (16, 16), "white").save(tmp_path / "plain.png")
    exif = Image.Exif()
    exif.update({**SpectrogramParams().to_exif(), ExifTags.STEP_SIZE_MS.value: 0})
    Image.new("RGB", (16, 16)).save(tmp_path / "bad-exif.png", exif=exif)
    os.mkfifo(tmp_path / "pipe.wav")
    return tmp_path


REFUSED = {
    # the command line itself
    "nonsense": "No such command",
    "generate": "Missing argument 'prompt'",
    "generate bells": "Missing option '--output'",
    "generate bells -o {}/a.mp3 --steps many": "--steps",
    "generate bells -o {}/a.mp3 --volume 11": "--volume",
    # values out of range, by the name of the option
    "retime {}/good.wav -o {}/a.wav": "nothing to change; name the --tempo",
    "retime {}/good.wav -o {}/a.wav --key H-moll": "--key: 'H-moll' is not a key",
    "retime {}/good.wav -o {}/a.wav --tempo 20": "--tempo: 20.0 must be from 30 to 300",
    "retime {}/good.wav -o {}/a.wav --from-tempo 90": "--from-tempo: 90 needs a tempo",
    "retime {}/good.wav -o {}/a.wav --semitones 99": "--semitones: 99.0 must be from -24 to 24",
    "retime {}/good.wav -o {}/a.wav --tempo 120": "0.30 s is too short for its tempo",
    "retime {}/good.wav -o {}/a.xyz --tempo 120": ".xyz",
    "retime {}/empty.wav -o {}/a.wav --semitones 1": "is empty",
    "loop {}/good.wav -o {}/a.wav": "0.30 s is too short for its tempo",
    "loop {}/good.wav -o {}/a.wav --beats 0": "--beats: 0 must be a whole number",
    "loop {}/good.wav -o {}/a.wav --from later": "--from: 'later' is not a time",
    "loop {}/text.mp3 -o {}/a.wav": "text.mp3",
    "generate bells -o {}/a.mp3 --steps 0": "--steps: ",
    "generate bells -o {}/a.mp3 --guidance 31": "--guidance: ",
    "generate bells -o {}/a.mp3 --guidance nan": "--guidance: ",
    "generate bells -o {}/a.mp3 --denoising 1.5": "--denoising: ",
    "generate bells -o {}/a.mp3 --seed -1": "--seed: ",
    "generate bells -o {}/a.mp3 --seed 9223372036854775807 --count 2": "--seed: ",
    "generate bells -o {}/a.mp3 --count 0": "--count: 0",
    "generate bells -o {}/a.mp3 --duration 61": "--duration: ",
    "generate bells -o {}/a.mp3 --duration 3 --seed-image og_beat": "--duration: 3",
    "generate bells -o {}/a.mp3 --denoising 0.6": "--denoising: 0.6 needs an image or audio",
    "generate bells -o {}/a.mp3 --magic-mix a --mix-share 1.5": "--mix-share: 1.5 must be from 0 t",
    "generate bells -o {}/a.mp3 --magic-mix a --mix-share nan": "--mix-share: nan must be from 0 t",
    "generate bells -o {}/a.mp3 --magic-mix a --mix-to 0": "--mix-to: 0 must be above 0",
    "generate bells -o {}/a.mp3 --magic-mix a --mix-from 0.6": "--mix-from: 0.6 must be from 0 to",
    "generate bells -o {}/a.mp3 --magic-mix (a:101)": "--magic-mix: ",
    "generate bells -o {}/a.mp3 --mix-share 0": "--mix-share: is the share of --magic-mix; ",
    "generate bells -o {}/a.mp3 --mix-from 0": "--mix-from: is a level of --magic-mix; add that",
    "generate bells -o {}/a.mp3 --magic-mix a --tempo 120": "--magic-mix: goes without a starting",
    "generate bells -o {}/a.mp3 --magic-mix a --seed-image og_beat": "--magic-mix: goes without",
    "generate bells -o {}/a.mp3 --magic-mix a --denoising 0.5": "--denoising: 0.5 needs an image",
    "generate bells -o {}/a.mp3 --seed-image polka": "--seed-image: 'polka' is unknown",
    "generate bells -o {}/a.mp3 --seed-image og_beat --mask-image x": "--mask-image: 'x' is unkn",
    "interpolate a b -o {}/a.mp3 --seed-image polka": "--seed-image: 'polka' is unknown",
    "generate bells -o {}/a.mp3 --scheduler magic": "--scheduler: ",
    "interpolate a b -o {}/a.mp3 --steps-between 1": "--steps-between: 1",
    "interpolate a b -o {}/a.mp3 --crossfade -1": "--crossfade: -1",
    "interpolate a b -o {}/a.mp3 --end-seed -5": "--end-seed: ",
    "jam": "Missing argument 'prompt'",
    "jam bells": "Missing option '--output'",
    "jam bells -o {}/a.mp3 --minutes 0": "--minutes: 0",
    "jam bells -o {}/a.mp3 --minutes nan": "--minutes: nan",
    "jam bells -o {}/a.mp3 --minutes 1441": "--minutes: 1441",
    "jam bells -o {}/a.mp3 --alpha-step 0": "--alpha-step: 0",
    "jam bells -o {}/a.mp3 --alpha-step 1.5": "--alpha-step: 1.5",
    "jam bells -o {}/a.mp3 --seed -1": "--seed: ",
    "jam bells -o {}/a.mp3 --seed-image polka": "--seed-image: 'polka' is unknown",
    "jam bells -o {}/a.mp3 --preset slow": "--preset: ",
    "jam bells -o {}/a.mp3 --steps 0": "--steps: ",
    "jam bells -o {}/a.mp3 --scheduler magic": "--scheduler: ",
    "jam bells -o {}/a.mp3 --guidance 31": "--guidance: ",
    "stems": "Missing argument 'song'",
    "stems {}/good.wav": "Missing option '--output'",
    "stems {}/good.wav -o {}/s --extension exe": "--extension: 'exe'",
    "stems {}/good.wav -o {}/text.mp3": "text.mp3",
    "stems {}/none.wav -o {}/s": "does not exist",
    "stems {}/many.wav -o {}/s": "many.wav': the file has 7 channels; at most 2",
    "remix {}/good.wav -o {}/a.mp3": "--gain: name a stem to change",
    "remix {}/good.wav -o {}/a.mp3 --gain vocals=3": "--gain: 'vocals' is not a stem; use drums, b",
    "remix {}/good.wav -o {}/a.mp3 --mute vocals": "--mute: 'vocals' is not a stem; use drums, b",
    "remix {}/good.wav -o {}/a.mp3 --gain drums": "--gain: 'drums' must be a stem and its gain in",
    "remix {}/good.wav -o {}/a.mp3 --gain drums=loud": "--gain: 'drums=loud' must be a stem and it",
    "remix {}/good.wav -o {}/a.mp3 --gain drums=nan": "--gain: 'drums=nan' must be a stem and its",
    "remix {}/good.wav -o {}/a.mp3 --gain drums=41dB": "--gain: 'drums=41dB' must be from -40 to 4",
    "remix {}/good.wav -o {}/a.mp3 --gain bass=1 --mute bass": "--mute: 'bass' is named twice",
    "remix {}/good.wav -o {}/a.mp3 --mute bass --seed 0": "--seed: 0 has no effect without --re",
    "remix {}/good.wav -o {}/a.mp3 --mute bass --denoising 0": "--denoising: 0.0 has no effect",
    "remix {}/good.wav -o {}/a.mp3 --mute bass --guidance 3": "--guidance: 3.0 has no effect wit",
    "remix {}/good.wav -o {}/a.xyz --mute bass": ".xyz",
    "remix {}/many.wav -o {}/a.mp3 --mute bass": "many.wav': the file has 7 channels; at most 2",
    "remix {}/text.mp3 -o {}/a.mp3 --mute bass": "text.mp3",
    # options that exclude or need each other
    "generate bells -o {}/a.mp3 --mask-image mask_gradient_dark": "--mask-image: ",
    "generate bells -o {}/a.mp3 --seed-image og_beat --init-image {}/plain.png": "exclude",
    "seed-image": "--output: ",
    "seed-image -o {}/a.png --audio {}/good.wav --key Am": "--key: Am",
    "seed-image -o {}/a.png --style polka": "--style: 'polka'",
    "seed-image -o {}/a.png --beats 0": "--beats: 0",
    "seed-image -o {}/a.png --tempo 1": "--tempo: 1",
    "seed-image -o {}/a.png --audio {}/good.wav --width 9999": "--width: 9999",
    # outputs
    "generate bells -o {}/a.xyz": ".xyz",
    "generate bells -o {}/a": "use one of .mp3",
    "generate bells -o {}/folder.mp3": "is a folder",
    "generate bells -o {}/a.mp3 --image {}/a.gif": "a.gif",
    "generate bells -o {}/good.wav/a.mp3": "cannot be written",
    "generate bells -o /proc/self/a.mp3": "cannot be written",
    "audio-to-image --audio {}/good.wav --image {}/folder.png": "is a folder",
    "image-to-audio --image {}/plain.png --audio {}/a.txt": ".txt",
    "sample-clips --audio {}/good.wav --output-dir {}/c --extension exe": "--extension: 'exe'",
    "sample-clips --audio {}/good.wav --output-dir {}/c --extension ../a.wav": "--extension: ",
    "sample-clips --audio {}/good.wav --output-dir {}/text.mp3 --duration-ms 9": "text.mp3",
    "audio-to-images-batch --audio-dir {} --output-dir {}/p --image-extension bmp": "sion: 'bmp'",
    "jam bells -o {}/a.xyz": ".xyz",
    "jam bells -o {}/folder.mp3": "is a folder",
    "jam bells -o /proc/self/a.mp3": "cannot be written",
    "jam bells -o {}/a.mp3 --images {}/good.wav": "good.wav",
    # inputs
    "generate bells -o {}/a.mp3 --init-image {}/text.mp3": "--init-image: ",
    "generate bells -o {}/a.mp3 --init-image {}/missing.png": "missing.png",
    "generate bells -o {}/a.mp3 --init-audio {}/plain.png": "--init-audio: ",
    "generate bells -o {}/a.mp3 --init-audio {}/missing.mp3": "does not exist",
    "generate bells -o {}/a.mp3 --seed-image og_beat --mask-image {}/broken.png": "--mask-image: ",
    "audio-to-image --audio {}/missing.wav --image {}/a.png": "missing.wav",
    "audio-to-image --audio {}/empty.wav --image {}/a.png": "empty",
    "audio-to-image --audio {}/text.mp3 --image {}/a.png": "not a readable audio file",
    "audio-to-image --audio {}/plain.png --image {}/a.png": "plain.png",
    "audio-to-image --audio {}/folder.mp3 --image {}/a.png": "is a folder",
    "audio-to-image --audio {}/good.wav --image {}/a.png --step-size-ms 0": "--step-size-ms=0",
    "audio-to-image --audio {}/good.wav --image {}/a.png --device toaster": "--device: 'toaster'",
    "audio-to-image --audio {}/pipe.wav --image {}/a.png": "is not a regular file",
    "image-to-audio --image {}/pipe.wav --audio {}/a.wav": "is not a regular file",
    "image-to-audio --image {}/bad-exif.png --audio {}/a.wav": "its EXIF has step_size_ms=0",
    "image-to-audio --image {}/missing.png --audio {}/a.wav": "missing.png",
    "image-to-audio --image {}/text.mp3 --audio {}/a.wav": "is not an image",
    "image-to-audio --image {}/broken.png --audio {}/a.wav": "broken.png",
    "print-exif --image {}/plain.png": "no spectrogram parameters",
    "print-exif --image {}/good.wav": "is not an image",
    "sample-clips --audio {}/good.wav --output-dir {}/c": "--duration-ms: 5120 ms are longer",
    "sample-clips --audio {}/good.wav --output-dir {}/c --duration-ms 9 --num-clips 0": "clips: 0",
    "sample-clips-batch --audio-dir {}/nowhere --output-dir {}/c": "--audio-dir: ",
    "sample-clips-batch --audio-dir {}/good.wav --output-dir {}/c": "is not a folder",
    "sample-clips-batch --audio-dir {}/void --output-dir {}/c": "has no audio file",
    "sample-clips-batch --audio-dir {} --output-dir {}/c --num-threads 0": "--num-threads: 0",
    "sample-clips-batch --audio-dir {} --output-dir {}/c --duration-ms 0": "--duration-ms: 0",
    "sample-clips-batch --audio-dir {} --output-dir {}/c --num-clips-per-file 0": "per-file: 0",
    "sample-clips-batch --audio-dir {} --output-dir {}/c --glob /x": "--glob: '/x' is not a",
    "predict -f {}/missing.json": "missing.json",
    "predict -f {}/bad.json": "is not JSON",
    "predict -f {}/list.json": "error: --file: ",
    "predict -f {}/list.json -o {}/a.xyz": "JSON object",
}


@pytest.mark.parametrize("line", REFUSED)
def test_refused_in_one_line(
    line: str, files: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("riffusion.generation.generator.ClipGenerator.load", _no_model)
    result = run(*(part.replace("{}", str(files)) for part in line.split()))
    assert result.code == 2
    lines = result.err.splitlines()
    assert len(lines) == 1, result.err
    assert lines[0].startswith("error: ")
    assert REFUSED[line] in lines[0]


def test_functions_name_the_argument_where_the_command_names_the_option(files: Path) -> None:
    with pytest.raises(InputError) as refusal:
        sample_clips(audio=str(files / "good.wav"), output_dir=str(files), duration_ms=0)
    assert refusal.value.field == "duration_ms"


def test_missing_checkpoint_is_named(files: Path, run: Run) -> None:
    result = run("generate", "x", "-o", files / "a.mp3", "--checkpoint", files / "nowhere/model")
    assert result.code == 2
    assert "nowhere/model" in result.err
    assert len(result.err.splitlines()) == 1


def test_debug_shows_the_traceback_before_the_line(tmp_path: Path, run: Run) -> None:
    result = run("--debug", "print-exif", "--image", tmp_path / "missing.png")
    assert result.code == 2
    assert result.err.startswith("Traceback")
    assert result.err.splitlines()[-1].startswith("error: ")


def test_debug_by_environment(tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RIFFUSION_DEBUG", "1")
    assert run("print-exif", "--image", tmp_path / "missing.png").err.startswith("Traceback")


def test_a_defect_is_one_line_with_exit_code_1(
    tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("two\nlines")

    monkeypatch.setattr("riffusion.io.images.read_image", broken)
    result = run("print-exif", "--image", tmp_path / "a.png")
    assert result.code == 1
    assert len(result.err.splitlines()) == 1
    assert "RuntimeError: two lines" in result.err
    assert "--debug" in result.err


def test_ctrl_c_exits_130_with_one_line(tmp_path: Path) -> None:
    pipe = tmp_path / "request.json"
    os.mkfifo(pipe)
    command = [sys.executable, "-m", "riffusion", "predict", "-f", str(pipe)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    with pipe.open("wb"):  # opens once the command reads the other end
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130
    assert err == "error: interrupted\n"


@pytest.mark.parametrize(
    ("arguments", "printed"),
    [
        (["--help"], "audio-to-images-batch"),
        (["--version"], "riffusion "),
    ],
)
def test_help_and_version_do_not_import_large_packages(arguments: list[str], printed: str) -> None:
    code = (
        f"import sys; from riffusion.cli import main; code = main({arguments});"
        "large = {'torch', 'numpy', 'pydantic', 'diffusers', 'rich', 'corpora'} & set(sys.modules);"
        "assert not large, large; sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert printed in done.stdout


def test_without_a_command_the_help_is_shown(run: Run) -> None:
    result = run()
    assert result.code == 0
    assert "Commands:" in result.out


def test_a_reader_that_closes_the_pipe_gets_no_error_message(tmp_path: Path) -> None:
    code = "import sys; from riffusion.cli import main; sys.exit(main(['--help']))"
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-c", code], stdout=writer, stderr=subprocess.PIPE, text=True
    )
    os.close(writer)
    assert done.returncode == 1
    assert done.stderr == ""


def test_check_output_dir_makes_folders_and_leaves_no_file(tmp_path: Path) -> None:
    check_output_dir(tmp_path / "a/b")
    assert list((tmp_path / "a/b").iterdir()) == []


def test_scheduler_names_in_the_help_are_those_of_the_api() -> None:
    assert tuple(options.SCHEDULERS.split(", ")) == get_args(SchedulerName)
    assert options.DEFAULT_SCHEDULER in get_args(SchedulerName)


class _Terminal:
    """Stands in for a stderr that is a terminal."""

    def __init__(self) -> None:
        self.text = ""

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        self.text += text
        return len(text)

    def flush(self) -> None: ...


def test_progress_bar_on_a_terminal_only(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with progress.progress_bar("clip") as move:
        move(1, 2)
    assert capsys.readouterr() == ("", "")
    terminal = _Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with progress.progress_bar("clip") as move:
        move(1, 4)
        half_way = terminal.text
        move(4, 4)
    assert "clip" in half_way
    assert "100%" not in half_way
    assert "100%" in terminal.text


def test_path_with_seed() -> None:
    assert outputs.path_with_seed(Path("x/bells.v2.mp3"), 7) == Path("x/bells.v2-7.mp3")
