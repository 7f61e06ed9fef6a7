"""`riffusion dataset synthesize`: the same bytes with any number of processes, killed or not."""

import json
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from corpora.general_midi import scores as scores_module
from corpora.general_midi import synthesizer as synthesizer_module
from corpora.general_midi.captions import HELD_OUT_TEMPLATES
from corpora.general_midi.notes import DRUM_BANK
from corpora.general_midi.options import CorpusOptions
from corpora.general_midi.scores import load_scores
from corpora.general_midi.synthesize import synthesize_corpus
from corpora.general_midi.synthesizer import Synthesizer
from riffusion.cli import main
from riffusion.datasets.folder import DatasetFolder
from riffusion.errors import InputError
from riffusion.spectrogram.params import SpectrogramParams
from tests.corpora.scores import SCORES
from tests.corpora.sine_soundfont import write_sine_soundfont
from tests.needs import FLUIDSYNTH, need
from tests.patience import wait_until

OPTIONS = CorpusOptions(clips_per_sound=14, seed=3, sounds=["flute", "rock drums"])
ARGUMENTS = ["--sounds", "flute,rock drums", "--clips-per-sound", "14", "--seed", "3"]
SMALL = CorpusOptions(clips_per_sound=2, sounds=["techno beat"], with_scores=False)


@pytest.fixture(scope="module", autouse=True)
def soundfont(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A small soundfont with the instruments of these tests, as the installed one."""
    path = tmp_path_factory.mktemp("soundfont") / "sine.sf2"
    presets = [(0, 73), (0, 80), (0, 81), *((DRUM_BANK, kit) for kit in (0, 8, 16, 24))]
    write_sine_soundfont(path, presets)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(synthesizer_module, "DEFAULT_SOUNDFONTS", (str(path),))
        yield path


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache with the scores of these tests."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        patch.setattr(scores_module, "parse_scores", lambda *_: SCORES)
        assert load_scores() == SCORES
        yield folder


@pytest.fixture(scope="module")
def fluidsynth() -> None:
    """Tests that use this are left out where FluidSynth is missing."""
    need(FLUIDSYNTH)


@pytest.fixture(scope="module")
def whole(fluidsynth: None, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus that was made in this process."""
    folder = tmp_path_factory.mktemp("data") / "whole"
    assert synthesize_corpus(folder, OPTIONS, 1) == {"train": 26, "validation": 2}
    return folder


def files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def images(folder: Path) -> dict[str, bytes]:
    return {name: data for name, data in files(folder).items() if name.endswith(".png")}


def children(pid: int) -> list[int]:
    return [int(text) for text in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def test_killed_and_resumed_by_other_processes_it_is_the_same(
    whole: Path, soundfont: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "killed"
    command = [sys.executable, "-m", "riffusion", "dataset", "synthesize", str(folder), *ARGUMENTS]
    process = subprocess.Popen(
        [*command, "--processes", "2", "--soundfont", str(soundfont)],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_until(lambda: len(images(folder)) >= 2 or process.poll() is not None, "no images")
        pool = children(process.pid)
    finally:
        process.kill()
        process.wait()
    assert len(pool) >= 2
    wait_until(lambda: not any(map(is_running, pool)), "a worker waits for work for ever")

    done = images(folder)
    expected = images(whole)
    assert 2 <= len(done) < len(expected)
    assert done.items() <= expected.items()  # by two processes as by one, and none half written
    assert not (folder / "train/metadata.jsonl").exists()
    (folder / "train/flute/.0123456789abcdef.tmp").write_bytes(b"half an image")
    before = {name: (folder / name).stat().st_ino for name in done}

    assert main(["dataset", "synthesize", str(folder), *ARGUMENTS, "--processes", "1"]) == 0
    assert files(folder) == files(whole)
    assert {name: (folder / name).stat().st_ino for name in done} == before  # not made again
    assert capsys.readouterr().out == (
        f"Wrote {folder} (26 clips for training, 2 for validation)\n"
    )


def test_the_folder(whole: Path) -> None:
    dataset = DatasetFolder(whole)
    assert dataset.params == SpectrogramParams()
    card = (whole / "README.md").read_text()
    for text in ("license: mit", "| rock drums | beat |", "--seed 3", "MIT", "Bach (1685-1750)"):
        assert text in card
    columns = set()
    for split, count in (("train", 13), ("validation", 1)):
        rows = dataset.rows(split)  # type: ignore[arg-type]
        assert [row.label for row in rows] == ["flute"] * count + ["rock drums"] * count
        for row in rows:
            columns.add(tuple(row.extras))
            assert row.text in row.captions
            assert len(row.captions) == len(row.wordings) >= 8
            assert (set(HELD_OUT_TEMPLATES) <= set(row.wordings)) == (split == "validation")
            assert split == "train" or row.text == row.captions[0] == row.label
            with Image.open(dataset.image_path(split, row)) as image:  # type: ignore[arg-type]
                assert image.size == (512, 512)
                assert SpectrogramParams.from_exif(image.getexif()) == SpectrogramParams()
    assert len(columns) == 1
    sources = {row.source for row in dataset.rows("train")}
    assert "patterns" in sources
    assert any(source.startswith("music21 corpus: tune") for source in sources)


def test_a_clip_does_not_depend_on_how_many_there_are(whole: Path, tmp_path: Path) -> None:
    fewer = CorpusOptions(clips_per_sound=3, seed=3, sounds=["rock drums"])
    synthesize_corpus(tmp_path / "fewer", fewer, 1)
    found = images(tmp_path / "fewer")
    assert len(found) == 3
    assert found.items() <= images(whole).items()


def test_the_command_prints_the_same_if_ci_is_set(
    fluidsynth: None, soundfont: Path, cache: Path, tmp_path: Path
) -> None:
    """pyfluidsynth prints what it finds, in each process that imports it."""
    command = [sys.executable, "-m", "riffusion", "dataset", "synthesize", str(tmp_path / "ci")]
    sounds = ["--sounds", "techno beat", "--no-scores", "--clips-per-sound", "2"]
    done = subprocess.run(
        [*command, *sounds, "--processes", "2", "--soundfont", str(soundfont)],
        env=os.environ | {"OMP_NUM_THREADS": "1", "CI": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == f"Wrote {tmp_path / 'ci'} (1 clips for training, 1 for validation)\n"


def test_another_seed_is_another_corpus(fluidsynth: None, tmp_path: Path) -> None:
    made = []
    for seed in (0, 1):
        folder = tmp_path / str(seed)
        options = CorpusOptions(clips_per_sound=1, seed=seed, sounds=["synth"], with_scores=False)
        assert synthesize_corpus(folder, options, 1) == {"train": 1, "validation": 0}
        assert not (folder / "validation").exists()
        made.append(files(folder))
    names = ("train/synth/000000.png", "train/metadata.jsonl")
    assert all(made[0][name] != made[1][name] for name in names)


def test_a_finished_corpus_is_not_made_again(whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = files(whole)
    monkeypatch.setattr(Synthesizer, "render_loop", lambda *_: pytest.fail("a clip was made"))
    calls: list[tuple[str, int, int]] = []
    synthesize_corpus(whole, OPTIONS, 2, lambda *call: calls.append(call))
    assert files(whole) == before
    assert calls == []


@pytest.mark.parametrize(
    ("arguments", "difference"),
    [
        (["--seed", "4"], "seed: 3 then, 4 now"),
        (["--clips-per-sound", "15"], "--clips-per-sound: 14 then, 15 now"),
        (["--no-scores"], "scores: True then, False now"),
        (["--sounds", "flute"], "sounds: ['flute', 'rock drums'] then, ['flute'] now"),
    ],
)
def test_a_folder_that_was_made_with_other_options(
    arguments: list[str], difference: str, whole: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = files(whole)
    assert main(["dataset", "synthesize", str(whole), *ARGUMENTS, *arguments]) == 2
    error = capsys.readouterr().err
    assert difference in error
    assert len(error.splitlines()) == 1
    assert files(whole) == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("{}/new --sounds piano,polka", "--sounds: 'polka' is not a sound; choose from piano"),
        ("{}/new --sounds piano,", "--sounds: '' is not a sound"),
        ("{}/new --clips-per-sound 0", "--clips-per-sound: 0 must be from 1 to 100000"),
        ("{}/new --seed -1", "--seed: -1 must be from 0"),
        ("{}/new --validation-share 1", "--validation-share: 1.0 must be from 0 to 0.9"),
        ("{}/new --validation-share nan", "--validation-share: nan must be"),
        ("{}/new --processes 0", "--processes: 0 must be at least 1"),
        ("{}/new --soundfont {}/no.sf2", "--soundfont: "),
    ],
)
def test_refused_in_one_line(
    arguments: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert_refused(arguments, message, tmp_path, capsys)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("{}/new --soundfont {}/letter.txt", "letter.txt' is not a soundfont"),
        ("{}", "is not a data set; choose an empty folder"),
        ("{}/letter.txt", "is not a data set"),
        ("{}/letter.txt/new", "cannot be created"),
        ("/proc/self/new", "cannot be created"),  # a read-only file system
    ],
)
def test_refused_in_one_line_once_fluidsynth_is_there(
    arguments: str,
    message: str,
    fluidsynth: None,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert_refused(arguments, message, tmp_path, capsys)


def assert_refused(
    arguments: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "letter.txt").write_text("not a soundfont")
    line = f"dataset synthesize --no-scores {arguments}".replace("{}", str(tmp_path))
    assert main(line.split()) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error
    assert len(error.splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]  # nothing was begun


def test_a_system_without_fluidsynth_or_soundfont(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["dataset", "synthesize", str(tmp_path / "new"), "--no-scores"]
    with monkeypatch.context() as patch:
        patch.setattr(synthesizer_module, "DEFAULT_SOUNDFONTS", ())
        assert main(command) == 2
        assert "--soundfont: there is no General MIDI soundfont" in capsys.readouterr().err
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "fluidsynth", None)
        synthesizer_module._fluidsynth_library.cache_clear()
        assert main(command) == 2
    synthesizer_module._fluidsynth_library.cache_clear()
    assert "error: FluidSynth cannot be loaded" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_a_full_disk_keeps_what_is_done(fluidsynth: None, tmp_path: Path) -> None:
    folder = tmp_path / "full"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, hard))  # room for the options alone
    try:
        with pytest.raises(InputError, match="cannot be written .*make room there"):
            synthesize_corpus(folder, SMALL, 1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert sorted(files(folder)) == ["dataset.json", "spectrogram_params.json"]
    assert synthesize_corpus(folder, SMALL, 1) == {"train": 1, "validation": 1}
    assert json.loads((folder / "dataset.json").read_text())["options"]["seed"] == 0


def test_a_folder_for_images_that_cannot_be_made(fluidsynth: None, tmp_path: Path) -> None:
    synthesize_corpus(tmp_path / "a", SMALL, 1)
    other = tmp_path / "b"
    other.mkdir()
    for name in ("dataset.json", "spectrogram_params.json"):
        (other / name).write_bytes((tmp_path / "a" / name).read_bytes())
    (other / "train").write_text("in the way")
    with pytest.raises(InputError, match="techno_beat' cannot be written .*another folder"):
        synthesize_corpus(other, SMALL, 1)


@pytest.mark.parametrize(
    ("clips", "share", "train", "validation"),
    [(200, 0.1, 180, 20), (240, 0.1, 216, 24), (3, 0.1, 2, 1), (1, 0.5, 1, 0), (9, 0.0, 9, 0)],
)
def test_shares(clips: int, share: float, train: int, validation: int) -> None:
    options = CorpusOptions(clips_per_sound=clips, validation_share=share)
    assert options.num_clips("train") == train
    assert options.num_clips("validation") == validation
