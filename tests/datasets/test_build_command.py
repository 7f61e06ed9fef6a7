"""The command `dataset build`: output, errors, and that other programs read its data sets."""

from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from PIL import Image

from riffusion.cli import dataset_build
from riffusion.cli.app import run
from riffusion.datasets.folder import DatasetFolder
from tests.datasets.recordings import contents, sweep, write, write_tagged

REPOSITORY = Path(__file__).parents[2]
SMALL = ("--sample-rate", 8000, "--padded-duration-ms", 100, "--height", 64, "--width", 32)


class Command:
    """Runs `riffusion dataset build` in this process; returns exit code and printed lines."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys
        self._app = typer.Typer(pretty_exceptions_enable=False)
        self._app.command("build")(dataset_build.build)

    def __call__(self, *arguments: object) -> tuple[int, list[str], list[str]]:
        self._capsys.readouterr()
        code = run(self._app, [str(argument) for argument in (*arguments, "--processes", 1)])
        captured = self._capsys.readouterr()
        return code, captured.out.splitlines(), captured.err.splitlines()


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(capsys)


def test_a_folder_becomes_a_data_set(tmp_path: Path, command: Command) -> None:
    songs, out = tmp_path / "in", tmp_path / "out"
    for name in ("piano/01_slow.wav", "piano/02_fast.mp3", "drums/loop.flac"):
        write(songs / name, sweep(1.0))
    write(songs / "short.wav", sweep(0.1))
    (songs / "cover.jpg").touch()
    code, printed, errors = command(songs, "-o", out, *SMALL, "--validation-share", 0.25)
    assert (code, errors) == (0, [])
    assert len(printed) == 2
    assert printed[0].startswith(f"Wrote {out} (")
    assert printed[1] == "Left out: 1 too short"
    folder = DatasetFolder(out)
    rows = [*folder.rows("train"), *folder.rows("validation")]
    assert {row.source: row.text for row in rows} == {
        "piano/01_slow.wav": "slow, piano",
        "piano/02_fast.mp3": "fast, piano",
        "drums/loop.flac": "loop, drums",
    }
    assert folder.params.max_frequency == 4000
    card = (out / "README.md").read_text()
    assert "| train | " in card
    assert "Left out: 1 too short" in card


def test_bad_files_are_listed_and_the_others_are_processed(
    tmp_path: Path, command: Command
) -> None:
    songs, out = tmp_path / "in", tmp_path / "out"
    write(songs / "a.wav", sweep(1.0))
    (songs / "broken.mp3").write_text("no sound at all")
    (songs / "empty.wav").touch()
    arguments = (songs, "-o", out, *SMALL, "--validation-share", 0)
    for _ in range(2):  # failed files are tried again
        code, printed, errors = command(*arguments)
        assert code == 2
        assert [line.split(": ")[:2] for line in errors] == [
            ["failed", "broken.mp3"],
            ["failed", "empty.wav"],
            ["error", "2 of 3 files failed; the others are done"],
        ]
        assert printed == [
            f"Wrote {out} (3 images from 1 recordings for training, "
            "0 images from 0 recordings for validation)"
        ]
    write(songs / "broken.mp3", sweep(1.0))
    (songs / "empty.wav").unlink()
    code, _, errors = command(*arguments)
    assert code == 2
    assert errors[0].startswith(f"error: --output='{out}' was made with other options (inputs: ")


def test_warnings_about_damage_name_the_file(
    tmp_path: Path, command: Command, caplog: pytest.LogCaptureFixture
) -> None:
    song = write(tmp_path / "in/song.mp3", sweep(3.0, 44100), 44100)
    data = song.read_bytes()
    song.write_bytes(data[:30_000] + b"\xaa" * 2000 + data[32_000:])
    code, _, _ = command(tmp_path / "in", "-o", tmp_path / "out", *SMALL)
    assert code == 0
    first = [record.getMessage() for record in caplog.records]
    assert any(message.startswith("song.mp3: the audio file is damaged") for message in first)
    caplog.clear()
    command(tmp_path / "in", "-o", tmp_path / "out", *SMALL)
    assert [record.getMessage() for record in caplog.records] == first


def test_only_bad_files_give_no_data_set(tmp_path: Path, command: Command) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/broken.mp3").write_text("no sound at all")
    code, printed, errors = command(tmp_path / "in", "-o", tmp_path / "out", *SMALL)
    assert (code, printed) == (2, [])
    assert errors[-1] == "error: 1 of 1 files failed; the others are done"
    assert not (tmp_path / "out/train/metadata.jsonl").exists()


def test_silence_only_is_an_error(tmp_path: Path, command: Command) -> None:
    write(tmp_path / "in/a.wav", np.zeros((1, 8000), np.float32))
    code, _, errors = command(tmp_path / "in", "-o", tmp_path / "out", *SMALL)
    assert code == 2
    assert len(errors) == 1
    assert errors[0].startswith("error: no image is left (3 silent); ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["in", "--duration-s", 5.12, "--width", 500], "--duration-s: 5.12 s are 512 frames"),
        (["in", "--duration-s", 5.12, "--beats", 8], "--duration-s: 5.12 s cannot be combined wit"),
        (["in", "--beats", 8, "--keep-rest"], "--keep-rest: a remainder is not a whole number of"),
        (["in", "--overlap", 1], "--overlap: 1.0 must be from 0 to 0.95"),
        (["in", "--validation-share", 1], "--validation-share: 1.0 must be from 0 to 0.9"),
        (["in", "--processes", 0], "--processes: 0 must be at least 1"),
        (["in", "--captions", "none.csv"], "--captions: 'none.csv' cannot be read"),
        (["in", "--step-size-ms", 0], "--step-size-ms=0 must be from 1 to 1000"),
        (["none"], "audio_dir: 'none' does not exist"),
        (["images"], "audio_dir: 'images' has no audio file"),
        (["captions"], "audio_dir: 'captions' has no audio file"),
        (["in", "-o", "in"], "output='in' exists and is not a data set"),
    ],
)
def test_bad_input_is_one_line(
    tmp_path: Path,
    command: Command,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[object],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "in/a.wav", sweep(1.0))
    for name in ("images/a.png", "captions/metadata.jsonl"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    before = contents(tmp_path)
    output = () if "-o" in arguments else ("-o", "out")
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command("build")(dataset_build.build)
    command._capsys.readouterr()
    assert run(app, [str(argument) for argument in (*arguments, *output)]) == 2
    errors = command._capsys.readouterr().err.splitlines()
    assert len(errors) == 1
    assert message in errors[0]
    assert contents(tmp_path) == before


def test_a_data_set_inside_the_folder_of_recordings(tmp_path: Path, command: Command) -> None:
    write(tmp_path / "in/a.wav", sweep(1.0))
    for _ in range(2):
        code, printed, errors = command(tmp_path / "in", "-o", tmp_path / "in/set", *SMALL)
        assert (code, errors) == (0, [])
        assert "3 images from 1 recordings for training" in printed[0]


def test_images_cut_on_beats_have_the_requested_width(tmp_path: Path, command: Command) -> None:
    from tests.datasets.click_tracks import RATE, clicks

    wave, _ = clicks(120, 0.2, 6)
    write(tmp_path / "in/clicks.wav", wave, RATE)
    arguments = ("--beats", 4, "--width", 96, "--height", 64, "--sample-rate", RATE)
    code, _, _ = command(tmp_path / "in", "-o", tmp_path / "out", *arguments)
    assert code == 0
    rows = DatasetFolder(tmp_path / "out").rows("train")
    assert len(rows) == 2
    for row in rows:
        assert row.extras["tempo_bpm"] == pytest.approx(120, rel=0.02)
        with Image.open(tmp_path / "out/train" / row.file_name) as image:
            assert image.size == (96, 64)
            loudness = 255 - np.asarray(image).astype(float).mean(axis=0)
        # Four clicks in 96 frames: one in every 24, the first one at the start.
        folded = loudness.reshape(4, 24)
        assert (folded.argmax(axis=1) <= 5).all()


def test_datasets_and_training_scripts_of_diffusers_read_it(
    tmp_path: Path, command: Command
) -> None:
    songs, out = tmp_path / "in", tmp_path / "out"
    # The `datasets` library takes these words for splits if they are part of a path.
    write(songs / "test/my train song.wav", sweep(1.0))
    write(songs / "validation/eval.wav", sweep(0.7))
    write_tagged(songs / "dev test.flac", sweep(0.4), {"title": "church bells", "genre": "Sacred"})
    assert command(songs, "-o", out, *SMALL, "--validation-share", 0.3)[0] == 0
    from transformers import CLIPTokenizer

    from datasets import load_dataset

    loaded = load_dataset("imagefolder", data_dir=str(out), cache_dir=str(tmp_path / "cache"))
    folder = DatasetFolder(out)
    assert set(loaded) == {"train", "validation"}
    for split in ("train", "validation"):
        rows = folder.rows(split)
        assert loaded[split]["text"] == [row.text for row in rows]
        assert loaded[split]["source"] == [row.source for row in rows]
        assert loaded[split]["start_s"] == [row.extras["start_s"] for row in rows]
    assert loaded["train"].column_names[:2] == ["image", "text"]

    tokenizer = CLIPTokenizer.from_pretrained(REPOSITORY / "data/demo-checkpoint/tokenizer")

    def to_tensor(image: Image.Image) -> torch.Tensor:
        """Resize the shorter side to 32, crop the middle, scale to [-1, 1]."""
        scale = 32 / min(image.size)
        size = (round(image.width * scale), round(image.height * scale))
        resized = image.resize(size, Image.Resampling.BILINEAR)
        left, top = (size[0] - 32) // 2, (size[1] - 32) // 2
        cropped = np.array(resized.crop((left, top, left + 32, top + 32)))
        return torch.from_numpy(cropped).permute(2, 0, 1) / 127.5 - 1

    def preprocess(examples: dict[str, list[object]]) -> dict[str, object]:
        images = [image.convert("RGB") for image in examples["image"]]  # type: ignore[attr-defined]
        tokens = tokenizer(
            examples["text"],
            max_length=tokenizer.model_max_length,
            padding="max_length",
            truncation=True,
            return_tensors="pt",
        )
        return {"pixel_values": list(map(to_tensor, images)), "input_ids": tokens.input_ids}

    loader = torch.utils.data.DataLoader(loaded["train"].with_transform(preprocess), batch_size=2)
    batch = next(iter(loader))
    assert batch["pixel_values"].shape == (2, 3, 32, 32)
    assert batch["pixel_values"].abs().max() <= 1
    assert batch["pixel_values"].std() > 0.1
    assert batch["input_ids"].shape == (2, tokenizer.model_max_length)
