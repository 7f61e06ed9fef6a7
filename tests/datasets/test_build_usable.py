"""Validation split and limit are those of the recordings that can be used."""

import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from riffusion.datasets.folder import DatasetFolder
from riffusion.datasets.from_audio.builder import build_dataset
from riffusion.datasets.from_audio.options import BuildOptions, SliceOptions
from riffusion.datasets.from_audio.sources import AudioFile, assign_splits
from tests.datasets.recordings import SMALL, build, contents, files_of, sweep, tone, write

SONG = sweep(0.7)


def broken(path: Path) -> None:
    path.write_text("no sound at all")


def silent(path: Path) -> None:
    write(path, np.zeros((1, 8000), np.float32))


def too_short(path: Path) -> None:
    write(path, tone(500, 0.1))


UNUSABLE: list[Callable[[Path], None]] = [broken, silent, too_short, Path.touch]


def used(directory: Path) -> dict[str, set[str]]:
    """Recordings by split."""
    folder = DatasetFolder(directory)
    return {split: {row.source for row in folder.rows(split)} for split in ("train", "validation")}  # type: ignore[arg-type]


def check_images(directory: Path) -> None:
    """Each split's folder has the images of its rows and no others."""
    folder = DatasetFolder(directory)
    for split in ("train", "validation"):
        rows = folder.rows(split)  # type: ignore[arg-type]
        images = (directory / split).rglob("*.png")
        found = {path.relative_to(directory / split).as_posix() for path in images}
        assert found == {row.file_name for row in rows}


@pytest.mark.parametrize("make", UNUSABLE)
@pytest.mark.parametrize("seed", range(4))
def test_one_song_and_one_unusable_file(
    tmp_path: Path, make: Callable[[Path], None], seed: int, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path / "in/a.wav", SONG)
    make(tmp_path / "in/b.wav")
    report = build(tmp_path / "in", tmp_path / "out", seed=seed)
    assert used(tmp_path / "out") == {"train": {"a.wav"}, "validation": set()}
    assert (report.num_images, report.num_files) == ({"train": 2}, {"train": 1})
    assert [record.getMessage() for record in caplog.records] == [
        "only a.wav can be used, so no recording is left for validation"
    ]
    check_images(tmp_path / "out")


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("seed", range(4))
def test_both_splits_have_recordings_whatever_the_unusable_files(
    tmp_path: Path, share: float, seed: int
) -> None:
    songs = tmp_path / "in"
    for number in range(8):
        path = songs / f"{number}.wav"
        path.parent.mkdir(exist_ok=True)
        UNUSABLE[number // 2](path) if number % 2 else write(path, SONG)
    build(songs, tmp_path / "out", validation_share=share, seed=seed)
    found = used(tmp_path / "out")
    assert len(found["validation"]) == min(max(round(4 * share), 1), 3)
    assert found["train"] | found["validation"] == {"0.wav", "2.wav", "4.wav", "6.wav"}
    check_images(tmp_path / "out")
    for name in ("1", "3", "5", "7"):  # the split is that of a folder without these files
        (songs / f"{name}.wav").unlink()
    build(songs, tmp_path / "clean", validation_share=share, seed=seed)
    assert used(tmp_path / "clean") == found


def test_one_recording_is_for_training_whatever_the_share() -> None:
    (source,) = assign_splits([AudioFile(Path("a"), "a")], 0.9, 0)
    assert source.split == "train"
    assert assign_splits([], 0.9, 0) == []


def test_a_limit_counts_usable_recordings(tmp_path: Path) -> None:
    songs = tmp_path / "in"
    songs.mkdir()
    for number, make in enumerate(UNUSABLE):
        make(songs / f"0{number}.wav")
    for name in ("1", "3", "4", "5"):
        write(songs / f"{name}.wav", SONG)
    broken(songs / "2.wav")
    report = build(songs, tmp_path / "out", limit=3, validation_share=0.4)
    found = used(tmp_path / "out")
    assert found["train"] | found["validation"] == {"1.wav", "3.wav", "4.wav"}
    assert (len(found["train"]), len(found["validation"])) == (2, 1)
    assert set(report.failures) == {"00.wav", "03.wav", "2.wav"}
    assert report.left_out == {"silent": 3, "too short": 1}
    check_images(tmp_path / "out")
    report = build(songs, tmp_path / "all", limit=100, validation_share=0)
    assert used(tmp_path / "all")["train"] == {"1.wav", "3.wav", "4.wav", "5.wav"}


def test_a_run_stopped_anywhere_resumes_to_the_same_bytes(tmp_path: Path) -> None:
    songs = tmp_path / "in"
    for name in ("a", "c", "d", "f"):
        write(songs / f"{name}.wav", SONG)
    for name in ("b", "e"):
        broken(songs / f"{name}.wav")
    options = BuildOptions(SliceOptions(SMALL), validation_share=0.4, limit=4)

    def run(out: Path, stop_after: int | None) -> None:
        def stop(done: int, total: int) -> None:
            if done == stop_after:
                raise KeyboardInterrupt

        build_dataset(songs, files_of(songs), out, options, 1, stop)

    run(tmp_path / "whole", None)
    check_images(tmp_path / "whole")
    for stop_after in range(1, 7):
        out = tmp_path / f"stopped {stop_after}"
        with pytest.raises(KeyboardInterrupt):
            run(out, stop_after)
        run(out, None)
        assert contents(out) == contents(tmp_path / "whole")


def test_a_run_killed_between_two_moves_resumes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    songs = tmp_path / "in"
    for number in range(10):
        path = songs / f"{number}.wav"
        path.parent.mkdir(exist_ok=True)
        broken(path) if number % 3 == 1 else write(path, SONG)
    options = {"validation_share": 0.5, "seed": 1}
    build(songs, tmp_path / "whole", **options)
    rename = Path.rename
    moves = []

    def record_move(self: Path, target: Path) -> Path:
        if self.is_dir():
            moves.append(self)
            if len(moves) == stop_at:
                raise KeyboardInterrupt
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", record_move)
    stop_at = -1
    build(songs, tmp_path / "counted", **options)
    num_moves = len(moves)
    assert num_moves >= 2
    for stop_at in range(1, num_moves + 1):
        moves.clear()
        out = tmp_path / f"stopped {stop_at}"
        with pytest.raises(KeyboardInterrupt):
            build(songs, out, **options)
        assert not (out / "train/metadata.jsonl").exists()
        build(songs, out, **options)
        assert contents(out) == contents(tmp_path / "whole")


def test_a_file_that_becomes_usable_changes_the_split_as_a_whole(tmp_path: Path) -> None:
    songs = tmp_path / "in"
    for name in ("a", "b", "c", "d"):
        write(songs / f"{name}.wav", SONG)
    good = (songs / "b.wav").read_bytes()
    (songs / "b.wav").write_bytes(bytes(len(good)))  # as a disk that doesn't answer
    options = {"validation_share": 0.5, "limit": 3}
    build(songs, tmp_path / "out", **options)
    before = used(tmp_path / "out")
    assert before["train"] | before["validation"] == {"a.wav", "c.wav", "d.wav"}
    (songs / "b.wav").write_bytes(good)
    build(songs, tmp_path / "out", **options)
    after = used(tmp_path / "out")
    assert after["train"] | after["validation"] == {"a.wav", "b.wav", "c.wav"}
    check_images(tmp_path / "out")
    build(songs, tmp_path / "fresh", **options)
    assert used(tmp_path / "fresh") == after


def test_a_file_beyond_the_limit_that_changed_is_drawn_again(tmp_path: Path) -> None:
    songs = tmp_path / "in"
    songs.mkdir()
    broken(songs / "a.wav")
    write(songs / "b.wav", tone(500, 0.4))
    write(songs / "c.wav", tone(2000, 0.4))
    build(songs, tmp_path / "out", limit=1)
    shutil.move(songs / "c.wav", songs / "b.wav")
    write(songs / "b.wav", tone(2000, 0.75))
    build(songs, tmp_path / "out", limit=1)
    build(songs, tmp_path / "fresh", limit=1)
    assert contents(tmp_path / "out") == contents(tmp_path / "fresh")
    assert len(DatasetFolder(tmp_path / "out").rows("train")) == 2


def test_all_usable_files_need_no_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path / "in/a.wav", SONG)
    with caplog.at_level(logging.WARNING):
        build(tmp_path / "in", tmp_path / "out")
    assert not caplog.records
