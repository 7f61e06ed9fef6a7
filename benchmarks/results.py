"""Results of benchmarks as files, which docs/benchmarks.md is made from."""

import dataclasses
import datetime
import json
import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "results"


@dataclasses.dataclass(frozen=True)
class Result:
    """One benchmark's result.

    Args:
        date: date of the measurement.
        machine: cores and processor, or GPU.
        versions: versions of Python and torch.
        rows: the numbers.
        table: the numbers as a Markdown table.
    """

    date: str
    machine: str
    versions: str
    rows: list[dict[str, Any]]
    table: str


def save(name: str, rows: Sequence[Any], table: str, machine: str | None = None) -> None:
    """Save a result, and print its table.

    Args:
        name: name of the benchmark.
        rows: dataclasses of the numbers.
        table: the numbers as a Markdown table.
        machine: what it was measured on; None for this machine's processor.
    """
    import torch  # benchmarks that time the start of programs import this module, too

    result = Result(
        date=datetime.datetime.now(tz=datetime.UTC).date().isoformat(),
        machine=machine or this_machine(),
        versions=f"torch {torch.__version__}, Python {platform.python_version()}",
        rows=[dataclasses.asdict(row) for row in rows],
        table=table,
    )
    FOLDER.mkdir(exist_ok=True)
    text = json.dumps(dataclasses.asdict(result), indent=1, ensure_ascii=False)
    (FOLDER / f"{name}.json").write_text(text + "\n", encoding="utf-8")
    print(table)


def load(name: str) -> Result | None:
    """A saved result, or None."""
    path = FOLDER / f"{name}.json"
    if not path.is_file():
        return None
    return Result(**json.loads(path.read_text(encoding="utf-8")))


def stages_s(header: str) -> dict[str, float]:
    """Seconds per stage from a Server-Timing header."""
    stages = (part.split(";dur=") for part in header.split(", "))
    return {name: float(milliseconds) / 1000 for name, milliseconds in stages}


def this_machine() -> str:
    """Description of this machine, such as `2 cores of AMD EPYC`."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        names = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        cpu = names[0].split(":", 1)[1].strip() if names else cpu
    return f"{os.cpu_count()} cores of {cpu}"
