"""What is done at most once per interval."""

import threading
import time

import pytest

from riffusion.runtime.pace import Pace


def test_it_is_due_once_per_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    times_s = iter((100.0, 100.0, 109.9, 110.0, 110.1, 119.9, 135.0, 136.0, 145.0))
    monkeypatch.setattr(time, "monotonic", lambda: next(times_s))
    pace = Pace(10.0)
    found = [pace.is_due() for _ in range(8)]
    assert found == [False, False, True, False, False, True, False, True]


def test_it_is_due_for_one_thread() -> None:
    pace, found = Pace(0.05), []
    time.sleep(0.06)
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
