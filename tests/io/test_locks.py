"""A folder has one writer at a time; others learn which, and its death frees the folder."""

import multiprocessing
import os
import signal
import socket
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from riffusion.errors import InputError
from riffusion.io.locks import OWNER_NAME, in_turn, sole_writer

PROCESSES = multiprocessing.get_context("fork")


def hold(directory: Path, connection: Connection, prepare: Callable[[], object]) -> None:
    """Lock a folder, tell the parent, and wait for its word."""
    with sole_writer(directory):
        connection.send(prepare())
        connection.recv()


def with_a_child() -> int:
    """Fork a process that outlives its parent, as loader workers do for some seconds."""
    child = os.fork()
    if child == 0:
        signal.pause()
        os._exit(0)
    return child


def test_the_owner_is_named(tmp_path: Path) -> None:
    here, there = PROCESSES.Pipe()
    owner = PROCESSES.Process(target=hold, args=(tmp_path, there, lambda: None))
    owner.start()
    here.recv()
    with pytest.raises(InputError) as refusal, sole_writer(tmp_path):
        pass
    assert str(refusal.value) == (
        f"output={str(tmp_path)!r} is in use by another run; wait until it ends, or choose another "
        f"folder (the other run is process {owner.pid} on {socket.gethostname()})"
    )
    here.send(None)
    owner.join()
    assert owner.exitcode == 0
    assert list(tmp_path.iterdir()) == []
    with sole_writer(tmp_path):
        assert f"process {os.getpid()} " in (tmp_path / OWNER_NAME).read_text()
    assert list(tmp_path.iterdir()) == []


def test_a_dead_owner_keeps_nobody_out(tmp_path: Path) -> None:
    """Not even while a process that it forked is alive."""
    here, there = PROCESSES.Pipe()
    owner = PROCESSES.Process(target=hold, args=(tmp_path, there, with_a_child))
    owner.start()
    child = here.recv()
    try:
        os.kill(owner.pid or 0, signal.SIGKILL)
        owner.join()
        assert (tmp_path / OWNER_NAME).read_text().startswith(f"process {owner.pid} ")
        os.kill(child, 0)  # it is alive
        with sole_writer(tmp_path):
            assert f"process {os.getpid()} " in (tmp_path / OWNER_NAME).read_text()
    finally:
        os.kill(child, signal.SIGKILL)


@pytest.mark.parametrize("content", [b"", b"\xff", None])
def test_without_a_readable_name_the_lock_still_holds(
    tmp_path: Path, content: bytes | None
) -> None:
    with sole_writer(tmp_path):
        if content is None:
            (tmp_path / OWNER_NAME).unlink()
        else:
            (tmp_path / OWNER_NAME).write_bytes(content)
        with pytest.raises(InputError, match="choose another folder$"), sole_writer(tmp_path):
            pass


def take_turn(directory: Path, connection: Connection) -> None:
    with in_turn(directory):
        connection.send("in")


def test_processes_take_turns(tmp_path: Path) -> None:
    here, there = PROCESSES.Pipe()
    with in_turn(tmp_path):
        other = PROCESSES.Process(target=take_turn, args=(tmp_path, there))
        other.start()
        assert not here.poll(0.3)
    assert here.recv() == "in"
    other.join()
    assert other.exitcode == 0
    assert list(tmp_path.iterdir()) == []
