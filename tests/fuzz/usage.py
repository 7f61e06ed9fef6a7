"""Memory and file descriptors of processes over time, and whether they grow."""

import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import NamedTuple, Self

import numpy as np
import psutil

_WARM_UP_SHARE = 1 / 3
"""Share of the samples that is left out: caches fill at first."""
MAX_MEMORY_GROWTH = 96 * 2**20
"""Bytes that memory at rest, or the line fitted to the samples, may rise by."""
MAX_FD_GROWTH = 12.0


class Sample(NamedTuple):
    """Usage of all processes together at one time."""

    at_s: float
    memory_bytes: int
    num_fds: int
    num_processes: int


class UsageSampler:
    """Samples usage on a thread, while it is used as a context manager.

    Args:
        processes: the processes to add up.
        interval_s: time between two samples.
    """

    def __init__(
        self, processes: Callable[[], list[psutil.Process]], interval_s: float = 1.0
    ) -> None:
        self._processes = processes
        self._interval_s = interval_s
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.samples: list[Sample] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopped.wait(self._interval_s):
            try:
                processes = self._processes()
                memory = [process.memory_info().rss for process in processes]
                fds = [process.num_fds() for process in processes]
            except psutil.Error:
                continue  # one has just ended
            self.samples.append(Sample(time.monotonic(), sum(memory), sum(fds), len(processes)))

    def growth(self) -> tuple[float, float]:
        """Rise of the fitted lines after the warm-up: bytes, and file descriptors."""
        samples = self.samples[round(_WARM_UP_SHARE * len(self.samples)) :]
        return rise([(s.at_s, s.memory_bytes) for s in samples]), rise(
            [(s.at_s, s.num_fds) for s in samples]
        )


def rise(points: list[tuple[float, float]]) -> float:
    """How much a line that is fitted to points rises from the first to the last one."""
    if len(points) < 3:
        return 0.0
    times, values = np.array(points, np.float64).T
    slope = np.polyfit(times - times[0], values, 1)[0]
    return float(slope * (times[-1] - times[0]))
