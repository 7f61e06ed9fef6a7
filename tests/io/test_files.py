"""Atomic writing of files of every kind, and checks before reading."""

import os
import resource
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from riffusion.audio import segment_from_waveform, write_audio
from riffusion.errors import InputError, MediaError
from riffusion.io.files import check_readable, write_file
from riffusion.io.images import write_image

LIMIT = 2**20
"""Largest file size in bytes while the disk is simulated to be full."""


def _write_bytes(path: Path) -> None:
    write_file(bytes(LIMIT + 1), path)


def _write_audio(path: Path) -> None:
    write_audio(segment_from_waveform(np.zeros((2, LIMIT // 2)), 44100), path)


def _write_image(path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (1000, 1000, 3), dtype=np.uint8)
    write_image(Image.fromarray(noise), path)


@pytest.mark.parametrize(
    ("write", "name"),
    [(_write_bytes, "a.bin"), (_write_audio, "a.wav"), (_write_image, "a.png")],
)
def test_full_disk_leaves_the_old_file_and_no_other(
    tmp_path: Path, write: Callable[[Path], None], name: str
) -> None:
    path = tmp_path / name
    path.write_bytes(b"old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT, hard))
    try:
        with pytest.raises(InputError, match=f"{name}.*cannot be written.*make room"):
            write(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == b"old"
    assert [file.name for file in tmp_path.iterdir()] == [name]
    write(path)
    assert path.stat().st_size > LIMIT


def test_write_replaces_what_a_link_points_to(tmp_path: Path) -> None:
    (tmp_path / "target.bin").write_bytes(b"old")
    (tmp_path / "link.bin").symlink_to("target.bin")
    write_file(b"new", tmp_path / "link.bin")
    assert (tmp_path / "link.bin").is_symlink()
    assert (tmp_path / "target.bin").read_bytes() == b"new"


def test_a_pipe_is_written_to(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.bin"
    os.mkfifo(pipe)
    received: list[bytes] = []
    reader = threading.Thread(target=lambda: received.append(pipe.read_bytes()), daemon=True)
    reader.start()
    write_file(b"new", pipe)
    reader.join()
    assert received == [b"new"]
    assert pipe.is_fifo()


def test_only_regular_files_of_an_allowed_size_are_accepted(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "empty").touch()
    (tmp_path / "file").write_bytes(b"four")
    check_readable(tmp_path / "file", 4, "audio")
    for path, message in (
        (tmp_path, "is a folder; name an existing audio file"),
        (tmp_path / "none", "none.*does not exist"),
        (tmp_path / "pipe", "pipe.*is not a regular file"),
        (Path("/dev/zero"), "zero.*is not a regular file"),
    ):
        with pytest.raises(InputError, match=message):
            check_readable(path, 4, "audio")
    with pytest.raises(MediaError, match="empty"):
        check_readable(tmp_path / "empty", 4, "audio")
    with pytest.raises(MediaError, match="at most 3 are allowed"):
        check_readable(tmp_path / "file", 3, "audio")
