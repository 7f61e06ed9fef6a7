"""What is done at most once per interval."""

import threading
import time
from types import SimpleNamespace

import pytest

from riffusion.runtime import pace as pace_module
from riffusion.runtime.pace import Pace


def test_it_is_due_once_per_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    times_s = iter((100.0, 100.0, 109.9, 110.0, 110.1, 119.9, 135.0, 136.0, 145.0))
    monkeypatch.setattr(pace_module, "time", SimpleNamespace(monotonic=lambda: next(times_s)))
    pace = Pace(10.0)
    found = [pace.is_due() for _ in range(8)]
    assert found == [False, False, True, False, False, True, False, True]


def test_it_is_due_for_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    pace, found = Pace(10.0), []
    now_s = time.monotonic() + 11.0
    monkeypatch.setattr(pace_module, "time", SimpleNamespace(monotonic=lambda: now_s))
    barrier = threading.Barrier(8)

    def ask() -> None:
        barrier.wait()
        found.append(pace.is_due())

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(found) == 1
