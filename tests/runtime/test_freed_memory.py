"""Memory that is freed, in processes of their own."""

import gc
import os
import platform
import subprocess
import sys
import weakref

import pytest

from riffusion.runtime.freed_memory import keep_loaded_objects, return_freed_memory

needs_glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's options")

ARENA_VARIABLES = ("MALLOC_ARENA_MAX", "GLIBC_TUNABLES")

THREADS = r"""
import re, sys, threading
from pathlib import Path
from riffusion.runtime.freed_memory import return_freed_memory, share_freed_memory

def megabytes():
    return int(re.search(r"VmRSS:\s+(\d+)", Path("/proc/self/status").read_text())[1]) / 1000

def work(turn, next_turn):
    turn.wait()
    blocks = [bytearray(b"x" * 60_000) for _ in range(300)]
    del blocks[:-1]  # the last one keeps the arena's end in use
    next_turn.set()
    done.wait()

if "share" in sys.argv:
    share_freed_memory()
before = megabytes()
done = threading.Event()
turns = [threading.Event() for _ in range(17)]
threads = [threading.Thread(target=work, args=pair) for pair in zip(turns, turns[1:])]
for thread in threads:
    thread.start()
turns[0].set()
turns[-1].wait()
print(megabytes() - before)
if "return" in sys.argv:
    return_freed_memory()
print(megabytes() - before)
done.set()
"""


def growth_mb(*options: str, **variables: str) -> list[float]:
    """Growth after 16 threads, one after the other, had 18 MB each, and at the end."""
    command = [sys.executable, "-c", THREADS, *options]
    others = {key: os.environ[key] for key in os.environ if key not in ARENA_VARIABLES}
    environment = others | variables
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return [float(line) for line in done.stdout.split()]


@needs_glibc
def test_threads_use_what_others_have_freed() -> None:
    assert growth_mb()[0] > 1.5 * growth_mb("share")[0]


@needs_glibc
@pytest.mark.parametrize(
    "variables", [{"MALLOC_ARENA_MAX": "1"}, {"GLIBC_TUNABLES": "glibc.malloc.arena_max=1"}]
)
def test_the_arenas_of_the_environment_are_kept(variables: dict[str, str]) -> None:
    assert growth_mb("share", **variables)[0] < 40


@needs_glibc
def test_freed_memory_is_returned() -> None:
    kept, rest = growth_mb("return")
    assert kept > 50
    assert rest < 20


class Cycle:
    """What only refers to itself."""

    def __init__(self) -> None:
        self.itself = self


def test_what_only_refers_to_itself_is_freed() -> None:
    gc.disable()
    try:
        seen = weakref.ref(Cycle())
        assert seen() is not None
        return_freed_memory()
        assert seen() is None
    finally:
        gc.enable()


def test_loaded_objects_are_passed_over() -> None:
    loaded = Cycle()
    try:
        keep_loaded_objects()
        assert not any(seen is loaded for seen in gc.get_objects())
    finally:
        gc.unfreeze()
