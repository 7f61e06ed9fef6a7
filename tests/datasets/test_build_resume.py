"""Builds that were interrupted, killed or out of disk space resume to the same bytes."""

import os
import resource
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from riffusion.datasets.from_audio.builder import build_dataset
from riffusion.datasets.from_audio.options import BuildOptions, SliceOptions
from riffusion.errors import InputError
from tests.datasets.recordings import (
    SMALL,
    build,
    contents,
    files_of,
    sweep,
    tone,
    write,
)
from tests.patience import PATIENCE_S, wait_until

NUM_FILES = 12
"""More than the two workers can finish from their queue of three after their parent has died."""


def write_songs(folder: Path, count: int) -> Path:
    for number in range(count):
        write(folder / f"song {number:02d}.wav", sweep(1.3))
    return folder


def times(directory: Path) -> dict[str, int]:
    """Modification time of each image."""
    return {
        path.relative_to(directory).as_posix(): path.stat().st_mtime_ns
        for path in directory.rglob("*.png")
    }


def test_an_interrupted_run_resumes_where_it_stopped(tmp_path: Path) -> None:
    songs = write_songs(tmp_path / "in", 4)
    build(songs, tmp_path / "whole")
    out = tmp_path / "out"

    def interrupt(done: int, total: int) -> None:
        assert total == 4
        if done == 2:
            raise KeyboardInterrupt

    options = BuildOptions(SliceOptions(SMALL))
    with pytest.raises(KeyboardInterrupt):
        build_dataset(songs, files_of(songs), out, options, 1, interrupt)
    finished = times(out)
    assert len(finished) == 2 * 4
    assert not (out / "train/metadata.jsonl").exists()
    # A killed run leaves behind an unfinished source with an incomplete file.
    unfinished = out / "train/000003"
    unfinished.mkdir(parents=True)
    (unfinished / "0000.png").write_bytes(b"half an image")
    (unfinished / "0009.png").write_bytes(b"from another run")
    (unfinished / ".0123456789abcdef.tmp").touch()
    (out / ".build/.0123456789abcdef.tmp").touch()
    (out / ".build/000002.json").write_text('{"rows": [')
    build(songs, out)
    assert contents(out) == contents(tmp_path / "whole")
    assert times(out).items() >= finished.items()
    before = times(out)
    build(songs, out)
    assert times(out) == before
    assert contents(out) == contents(tmp_path / "whole")


def test_a_missing_image_is_made_again(tmp_path: Path) -> None:
    songs, out = write_songs(tmp_path / "in", 2), tmp_path / "out"
    build(songs, out)
    whole, finished = contents(out), times(out)
    lost = min(finished)
    (out / lost).unlink()
    build(songs, out)
    assert contents(out) == whole
    folder = lost.rpartition("/")[0]
    for name, written in times(out).items():
        assert (written == finished[name]) == (not name.startswith(folder))


def test_a_second_run_at_the_same_time_is_refused(tmp_path: Path) -> None:
    songs, out = write_songs(tmp_path / "in", 1), tmp_path / "out"
    options = BuildOptions(SliceOptions(SMALL))

    def start_another(done: int, total: int) -> None:
        with pytest.raises(InputError, match="is in use by another run"):
            build(songs, out)

    build_dataset(songs, files_of(songs), out, options, 1, start_another)
    assert (out / "README.md").is_file()


_PROGRAM = """
    import os, signal, sys
    from pathlib import Path
    from riffusion.datasets.from_audio.builder import build_dataset
    from riffusion.datasets.from_audio.formats import image_format
    from riffusion.datasets.from_audio.options import BuildOptions, SliceOptions
    from riffusion.datasets.from_audio.sources import AudioFile

    songs, out = map(Path, sys.argv[1:])
    image = image_format(
        width=32, sample_rate=8000, padded_duration_ms=100, num_frequencies=64
    )
    files = [AudioFile(path, path.name) for path in sorted(songs.iterdir())]
    die = lambda done, total: os.kill(os.getpid(), signal.SIGKILL)
    build_dataset(songs, files, out, BuildOptions(SliceOptions(image)), 2, die)
"""
"""Kills itself when the first file is done."""


def test_a_killed_run_leaves_no_process_and_resumes(tmp_path: Path) -> None:
    songs, out = write_songs(tmp_path / "in", NUM_FILES), tmp_path / "out"
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(_PROGRAM), str(songs), str(out)],
        cwd=Path(__file__).parents[2],
        start_new_session=True,
    )
    assert process.wait(PATIENCE_S) == -signal.SIGKILL
    wait_until(lambda: not _is_group_alive(process.pid), "a worker still runs")
    records = len(list(out.glob(".build/*.json")))
    assert 0 < records < NUM_FILES
    assert not (out / "train/metadata.jsonl").exists()
    finished = {
        name: written
        for name, written in times(out).items()
        if (out / f".build/{name.split('/')[1]}.json").exists()
    }
    build(songs, out)
    build(songs, tmp_path / "whole")
    assert contents(out) == contents(tmp_path / "whole")
    assert times(out).items() >= finished.items()


def _is_group_alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


@contextmanager
def largest_file(num_bytes: int) -> Iterator[None]:
    """Limit the size of files, which stands for a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_ends_the_run_and_keeps_finished_files(tmp_path: Path) -> None:
    songs, out = tmp_path / "in", tmp_path / "out"
    write(songs / "a.wav", tone(500, 0.4))
    noise = np.random.default_rng(0).normal(0, 0.2, (1, 8000)).astype(np.float32)
    write(songs / "b.wav", noise)
    write(songs / "c.wav", tone(600, 0.4))
    build(songs, tmp_path / "whole", validation_share=0)
    sizes = [path.stat().st_size for path in sorted((tmp_path / "whole/train").rglob("*.png"))]
    assert sizes[0] < min(sizes[1:4])
    with (
        largest_file(min(sizes[1:4]) - 1),
        pytest.raises(InputError, match=r"path='.*/000001/0000.png' cannot be written \(File too"),
    ):
        build(songs, out, validation_share=0)
    assert list(contents(out)) == [
        ".build/000000.json",
        "dataset.json",
        "spectrogram_params.json",
        "train/000000/0000.png",
    ]
    build(songs, out, validation_share=0)
    assert contents(out) == contents(tmp_path / "whole")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"silence_db": -50.0}, r"silence_db: -60.0 then, -50.0 now"),
        ({"seed": 1}, r"seed: 0 then, 1 now"),
        ({"overlap": 0.5}, r"overlap: 0.0 then, 0.5 now"),
        ({"limit": 1}, r"inputs: '2 files, \w+' then, '1 files, \w+' now"),
    ],
)
def test_a_data_set_with_other_options_is_refused(
    tmp_path: Path, change: dict[str, float], message: str
) -> None:
    songs = write_songs(tmp_path / "in", 2)
    build(songs, tmp_path / "out")
    before = contents(tmp_path / "out")
    with pytest.raises(InputError, match=message):
        build(songs, tmp_path / "out", **change)
    assert contents(tmp_path / "out") == before


def test_other_recordings_or_captions_are_refused(tmp_path: Path) -> None:
    songs = write_songs(tmp_path / "in", 2)
    captions = songs / "metadata.csv"
    captions.write_text("file_name,text\nsong 00.wav,one\n")
    build(songs, tmp_path / "out")
    captions.write_text("file_name,text\nsong 00.wav,two\n")
    with pytest.raises(InputError, match="inputs: .* choose another folder, or delete this one"):
        build(songs, tmp_path / "out")
    captions.write_text("file_name,text\nsong 00.wav,one\n")
    build(songs, tmp_path / "out")
    write(songs / "song 01.wav", sweep(1.5))
    with pytest.raises(InputError, match="inputs: "):
        build(songs, tmp_path / "out")
