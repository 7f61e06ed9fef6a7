"""The number of processors that this process may use."""

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
