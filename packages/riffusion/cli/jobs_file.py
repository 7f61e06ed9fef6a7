"""Reads the jobs of `riffusion batch`: one per line of a .jsonl or .csv file, or a .yaml or .json.

A job is a mapping: the command's name in `command` (default: generate), and its arguments and
options by name, such as {"prompt": "church bells", "seed": 42, "steps": 30}.

The parameter sets of Riffusion's published playground are read, too: a mapping with `params`, which
hold for all, and `entries`.
"""

import csv
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from riffusion.errors import InputError
from riffusion.io.files import check_readable

MAX_BYTES = 20_000_000
_SHARED_KEYS = {"entries": "params", "jobs": "defaults"}
"""Keys of a file's jobs, and of the values that all of them have."""
_FRAMES_PER_S = 100
_SCHEDULERS = {
    "PNDMScheduler": "pndm",
    "DDIMScheduler": "ddim",
    "DPMSolverMultistepScheduler": "dpmsolver++",
    "LMSDiscreteScheduler": "lms",
    "EulerDiscreteScheduler": "euler",
    "EulerAncestralDiscreteScheduler": "euler_a",
}
"""The playground names schedulers by their class in diffusers."""


@dataclass(frozen=True)
class Job:
    """A job, or what is wrong with its line.

    Args:
        where: its place in the file, such as `line 3`.
        values: the command's name and its arguments and options.
        error: why there is no such job; None if there is one.
    """

    where: str
    values: Mapping[str, Any]
    error: InputError | None = None


def read_jobs(path: Path) -> list[Job]:
    """Read all jobs of a file. A bad line or entry is a job with an error.

    Raises:
        InputError: the file can't be read as a whole, has another extension, or contains no job.
    """
    readers = {
        ".jsonl": _json_lines,
        ".csv": _csv_rows,
        ".yaml": _yaml_entries,
        ".yml": _yaml_entries,
        ".json": _json_entries,
    }
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise InputError(
            f"{str(path)!r} must end in .jsonl, .csv, .yaml or .json, which says how to read it",
            field="jobs",
        )
    check_readable(path, MAX_BYTES, "jobs")
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{str(path)!r} is not text in UTF-8 ({error})", field="jobs") from error
    jobs = list(reader(text, path))
    if not jobs:
        raise InputError(f"{str(path)!r} contains no job; add one", field="jobs")
    return jobs


def _json_lines(text: str, _: Path) -> Iterator[Job]:
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        where = f"line {number}"
        try:
            yield _job(where, json.loads(line))
        except (ValueError, RecursionError) as error:
            yield Job(where, {}, InputError(f"is not a JSON object ({error})"))


def _csv_rows(text: str, path: Path) -> Iterator[Job]:
    """One job per row under a header of names; empty cells are left out."""
    rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    header: list[str] = []
    try:
        for row in rows:
            where = f"line {rows.line_num}"
            if not any(cell.strip() for cell in row):
                continue
            if not header:
                header = [name.strip() for name in row]
                continue
            if len(row) != len(header):
                reason = f"has {len(row)} cells, but the header {len(header)}; quote commas"
                yield Job(where, {}, InputError(reason))
                continue
            yield _job(
                where, {name: cell for name, cell in zip(header, row, strict=True) if cell.strip()}
            )
    except csv.Error as error:
        raise InputError(f"{str(path)!r} is not CSV ({error}); mend it", field="jobs") from error


def _yaml_entries(text: str, path: Path) -> Iterator[Job]:
    import yaml

    try:
        content = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{str(path)!r} is not YAML ({reason}); mend it", field="jobs") from error
    return _entries(content, path)


def _json_entries(text: str, path: Path) -> Iterator[Job]:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{str(path)!r} is not JSON ({error}); mend it", field="jobs") from error
    return _entries(content, path)


def _entries(content: Any, path: Path) -> Iterator[Job]:
    """The jobs of a list, or of a mapping with a list and values that all of its jobs have."""
    shared: Any = {}
    if isinstance(content, Mapping):
        key = next((key for key in _SHARED_KEYS if key in content), None)
        unknown = sorted(map(str, content.keys() - {key, _SHARED_KEYS.get(key or "")}))
        if key is None or unknown:
            raise InputError(
                f"{str(path)!r} must be a list of jobs, or have the keys `jobs` and `defaults` "
                f"(or `entries` and `params`); found {unknown or 'neither'}",
                field="jobs",
            )
        shared, content = content.get(_SHARED_KEYS[key]) or {}, content[key]
    if not isinstance(content, list) or not isinstance(shared, Mapping):
        raise InputError(
            f"{str(path)!r} must contain a list of jobs, and mappings of their values",
            field="jobs",
        )
    for number, entry in enumerate(content, start=1):
        values = {**shared, **entry} if isinstance(entry, Mapping) else entry
        yield _job(f"job {number}", values)


def _job(where: str, values: Any) -> Job:
    """A job whose values have our names and no empty values."""
    if not isinstance(values, Mapping):
        return Job(where, {}, InputError(f"{values!r} must be names and values of a command"))
    named = {
        str(name).strip().replace("-", "_"): value
        for name, value in values.items()
        if value is not None
    }
    return Job(where, _from_playground(named))


def _from_playground(values: dict[str, Any]) -> dict[str, Any]:
    """Values with what only the published playground names in another way: width and scheduler."""
    values = dict(values)
    width = values.get("width")
    if isinstance(width, int) and "duration" not in values and "command" not in values:
        values.pop("width")
        values["duration"] = width / _FRAMES_PER_S
    scheduler = values.get("scheduler")
    if isinstance(scheduler, str):
        values["scheduler"] = _SCHEDULERS.get(scheduler, scheduler)
    return values
