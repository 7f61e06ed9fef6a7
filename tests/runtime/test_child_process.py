"""Processes that answer messages: how they start and end, and that no answer harms the parent."""

import io
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from riffusion.errors import ServerError
from riffusion.runtime.child_process import ChildProcess
from riffusion.runtime.messages import receive, send
from tests.patience import PATIENCE_S, wait_until

WORKER = """
import os, sys
from riffusion.runtime.messages import receive, send
out = os.fdopen(os.dup(1), "wb")
send(out, ({}, b""))
while True:
    values, data = receive(sys.stdin.buffer, 2**20)
    if "exit" in values:
        os._exit(values["exit"])
    if "raw" in values:
        out.write(data)
        out.flush()
    elif "variables" in values:
        send(out, (dict(os.environ), b""))
    elif "sleep" not in values:
        send(out, (values, data[::-1]))
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module that only this process's `sys.path` leads to."""
    (tmp_path / "worker_of_test.py").write_text(WORKER)
    (tmp_path / "broken_worker.py").write_text("raise ImportError('no decoder here')")
    monkeypatch.syspath_prepend(str(tmp_path))
    return "worker_of_test"


def test_answers(module: str) -> None:
    process = ChildProcess(module, [], 2**20)
    for size in (0, 1, 100_000, 1_000_000):
        data = os.urandom(size)
        assert process.ask(({"size": size}, data), PATIENCE_S) == ({"size": size}, data[::-1])
    assert process.is_alive
    process.close()
    assert not process.is_alive


def test_a_process_that_does_not_start(module: str) -> None:
    process = ChildProcess("broken_worker", [], 100)
    with pytest.raises(ServerError, match=r"broken_worker doesn't start \(exit status 1\)"):
        process.ask(({}, b""), PATIENCE_S)
    process.close()


def test_no_answer_in_time_ends_the_process(module: str) -> None:
    process = ChildProcess(module, [], 100)
    with pytest.raises(TimeoutError, match=r"within 0\.05 s"):
        process.ask(({"sleep": True}, b""), 0.05)
    assert not process.is_alive


@pytest.mark.parametrize("status", [0, 3])
def test_a_process_that_ends_instead_of_answering(module: str, status: int) -> None:
    process = ChildProcess(module, [], 100)
    with pytest.raises(EOFError, match=f"exit status {status}"):
        process.ask(({"exit": status}, b""), PATIENCE_S)


@pytest.mark.parametrize(
    "answer",
    [
        bytes(11) + b"\x02[]",
        b"\x00\x00\x00\x02" + bytes(8) + b"[]",
        b"\x00\x00\x00\x02" + bytes(8) + b"{'",
        b"\x00\x00\x00\x02" + bytes(8) + b"\xff\xff",
        b"\x7f" + bytes(11),
        b"\x00\x00\x00\x02\x00\x00\x01" + bytes(5) + b"{}",
    ],
)
def test_an_answer_that_is_none_ends_the_process(module: str, answer: bytes) -> None:
    process = ChildProcess(module, [], 100)
    with pytest.raises(EOFError):
        process.ask(({"raw": True}, answer), PATIENCE_S)
    assert not process.is_alive


def test_the_environment_has_no_secrets(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "secret")
    process = ChildProcess(module, [], 2**20)
    variables, _ = process.ask(({"variables": True}, b""), PATIENCE_S)
    process.close()
    assert "HF_TOKEN" not in variables
    assert variables["PATH"] == os.environ["PATH"]


def test_messages_end_with_their_stream() -> None:
    buffer = io.BytesIO()
    send(buffer, ({"a": [1, "ü"]}, b"12345"))
    whole = buffer.getvalue()
    assert receive(io.BytesIO(whole), 5) == ({"a": [1, "ü"]}, b"12345")
    for length in range(len(whole)):
        with pytest.raises(EOFError):
            receive(io.BytesIO(whole[:length]), 5)
    with pytest.raises(ValueError, match="too large"):
        receive(io.BytesIO(whole), 4)


PARENT = """
import sys, threading, time
from riffusion.audio.decoding_pool import DecodingPool
from tests.audio.hostile_audio import empty_frames
pool = DecodingPool(time_limit_s=1e6)
pool.start()
if sys.argv[1] == "busy":
    threading.Thread(target=pool.decode, args=(empty_frames(20_000_000),)).start()
print(*pool.pids, flush=True)
time.sleep(1e6)
"""


def cpu_time_s(pid: int) -> float | None:
    """Processor time of a process; None if it has ended."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = text.rpartition(")")[2].split()
    return (
        None if fields[0] == "Z" else (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    )


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("state", ["idle", "busy"])
def test_a_process_ends_with_its_parent_however_that_ends(state: str) -> None:
    """Decoding takes minutes of processor time; the process ends in its midst."""
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, state], stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    started_s = cpu_time_s(pid)
    assert started_s is not None
    if state == "busy":
        wait_until(lambda: (cpu_time_s(pid) or 0) > started_s + 0.5, "it decodes nothing")
    parent.kill()
    parent.communicate()
    while (now_s := cpu_time_s(pid)) is not None:
        assert now_s < started_s + 20, "it decodes on without its parent"
        time.sleep(0.01)
