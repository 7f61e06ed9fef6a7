"""The number of processors that this process may use, and of threads to compute with."""

import math
import os
from pathlib import Path

_CGROUP_LIMIT = Path("/sys/fs/cgroup/cpu.max")
"""A container's limit: microseconds of processor time per period, or `max`, and the period."""


def num_usable_cpus(limit: Path = _CGROUP_LIMIT) -> int:
    """Number of processors that this process may use, at least 1.

    `os.cpu_count` is the machine's number, also in a container that may use only some of them.

    Args:
        limit: the container's limit, in the format of Linux control groups, version 2.
    """
    affinity = getattr(os, "sched_getaffinity", None)
    count = len(affinity(0)) if affinity else os.cpu_count() or 1
    try:
        quota, period = limit.read_text(encoding="ascii").split()
        count = min(count, math.ceil(int(quota) / int(period)))
    except (OSError, ValueError, ZeroDivisionError):
        pass  # no control groups, or no limit
    return max(1, count)


def num_compute_threads() -> int:
    """Number of threads that a network without PyTorch computes with.

    That is OMP_NUM_THREADS if it is set, else `num_usable_cpus`: PyTorch and NumPy's libraries
    follow that variable of OpenMP as well, so one setting holds for both engines. onnxruntime has
    threads of its own and doesn't read it.
    """
    first = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()  # outermost level
    is_number = first.isascii() and first.isdigit() and int(first) > 0
    return int(first) if is_number else num_usable_cpus()
