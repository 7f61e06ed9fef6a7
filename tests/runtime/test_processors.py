"""The number of processors that a container may use, and of threads."""

import os
from pathlib import Path

import pytest

from riffusion.runtime.processors import num_compute_threads, num_usable_cpus

USABLE = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        ("max 100000\n", USABLE),
        ("100000 100000\n", 1),
        ("50000 100000\n", 1),
        ("150000 100000\n", min(2, USABLE)),
        ("100000000 100000\n", USABLE),
        ("", USABLE),
        ("1 0", USABLE),
    ],
)
def test_a_container_s_limit_counts(tmp_path: Path, limit: str, expected: int) -> None:
    path = tmp_path / "cpu.max"
    path.write_text(limit)
    assert num_usable_cpus(path) == expected
    assert num_usable_cpus(tmp_path / "missing") == USABLE


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        (None, None),
        ("", None),
        ("3", 3),
        (" 4 ", 4),
        ("5,2", 5),
        ("0", None),
        ("-1", None),
        ("many", None),
        ("²", None),
    ],
)
def test_the_variable_of_openmp_sets_the_number_of_threads(
    setting: str | None, expected: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if setting is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", setting)
    assert num_compute_threads() == (expected or num_usable_cpus())
