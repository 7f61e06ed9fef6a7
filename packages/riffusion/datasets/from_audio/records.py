"""Jobs for single sources, and records of finished ones.

A record is written after all images of its source. A source without a record is redone from an
empty folder, so a run can be killed at any moment.
"""

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from riffusion.datasets.folder import SPLITS, DatasetRow
from riffusion.datasets.from_audio.captions import Caption, CaptionSource
from riffusion.datasets.from_audio.sources import Source
from riffusion.errors import InputError

RECORDS = ".build"
"""Folder of the records in the data set; hidden, so that the `datasets` library ignores it."""


class OutputError(InputError):
    """The data set can't be written. This ends the whole run."""


@contextlib.contextmanager
def output_errors() -> Iterator[None]:
    """Raise `OutputError`, which ends the run, for errors in writing."""
    try:
        yield
    except InputError as error:
        raise OutputError(str(error)) from error
    except OSError as error:
        raise OutputError(
            f"path={str(error.filename)!r} cannot be written ({error.strerror}); "
            "make room there, or choose another place"
        ) from error


@dataclass(frozen=True)
class Job:
    """The work on one source, as sent to a worker process.

    Args:
        source: the recording.
        caption: its caption from metadata or a text file, if there is one.
        caption_source: where the caption comes from otherwise.
        directory: the data-set folder.
        fingerprint: that of the recording if `dataset.json` doesn't cover it, else empty. A record
            with another one is out of date.
    """

    source: Source
    caption: Caption | None
    caption_source: CaptionSource
    directory: Path
    fingerprint: str = ""


@dataclass(frozen=True)
class Record:
    """The result of one source.

    Args:
        rows: one row per image.
        left_out: number of slices without an image, by reason.
        warnings: warnings about the file.
        fingerprint: that of the job.
    """

    rows: tuple[DatasetRow, ...] = ()
    left_out: dict[str, int] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    fingerprint: str = ""

    def to_json(self) -> str:
        """The record as JSON; `from_json` is the inverse."""
        values: dict[str, Any] = {
            "rows": [json.loads(row.to_json()) for row in self.rows],
            "left_out": self.left_out,
            "warnings": self.warnings,
        }
        if self.fingerprint:
            values["fingerprint"] = self.fingerprint
        return json.dumps(values, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read a record.

        Raises:
            ValueError: the record is damaged.
        """
        try:
            values = json.loads(text)
            rows = tuple(DatasetRow.from_json(json.dumps(row)) for row in values["rows"])
            left_out, warnings = dict(values["left_out"]), tuple(values["warnings"])
            return cls(rows, left_out, warnings, values.get("fingerprint", ""))
        except (KeyError, TypeError) as error:
            raise ValueError(f"not a record: {error}") from error


def record_path(directory: Path, source: Source) -> Path:
    """Path of a source's record."""
    return directory / RECORDS / f"{source.folder}.json"


def read_record(job: Job) -> Record | None:
    """The record of a job; None if it isn't finished, or if images are missing or out of date.

    All images are in one split, but not always in the source's: see `final_splits`.
    """
    try:
        text = record_path(job.directory, job.source).read_text(encoding="utf-8")
        record = Record.from_json(text)
    except (OSError, ValueError):
        return None
    if record.fingerprint != job.fingerprint:
        return None
    is_complete = any(
        all((job.directory / split / row.file_name).is_file() for row in record.rows)
        for split in SPLITS
    )
    return record if is_complete else None
