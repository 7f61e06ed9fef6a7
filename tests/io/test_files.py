"""Files that are written whole or not at all, whoever writes them."""

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
"""Bytes of the largest file in `full_disk`."""


def _write_bytes(path: Path) -> None:
    write_file(bytes(LIMIT + 1), path)


def _write_sound(path: Path) -> None:
    write_audio(segment_from_waveform(np.zeros((2, LIMIT // 2)), 44100), path)


def _write_image(path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (1000, 1000, 3), dtype=np.uint8)
    write_image(Image.fromarray(noise), path)


@pytest.mark.parametrize(
    ("write", "name"),
    [(_write_bytes, "a.bin"), (_write_sound, "a.wav"), (_write_image, "a.png")],
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
    reader.join(timeout=10)
    assert received == [b"new"]
    assert pipe.is_fifo()


def test_only_regular_files_of_a_sensible_size_are_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "empty").touch()
    (tmp_path / "file").write_bytes(b"four")
    check_readable(tmp_path / "file", 4, "sound")
    for path, message in (
        (tmp_path, "is a folder; name a sound file"),
        (tmp_path / "none", "none.*does not exist"),
        (tmp_path / "pipe", "pipe.*is not a regular file"),
        (Path("/dev/zero"), "zero.*is not a regular file"),
    ):
        with pytest.raises(InputError, match=message):
            check_readable(path, 4, "sound")
    with pytest.raises(MediaError, match="empty"):
        check_readable(tmp_path / "empty", 4, "sound")
    with pytest.raises(MediaError, match="at most 3 are allowed"):
        check_readable(tmp_path / "file", 3, "sound")
