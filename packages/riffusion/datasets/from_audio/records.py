"""Jobs for single sources, and records of finished ones.

A record is written after all images of its source. A source without a record is redone from an
empty folder, so a run can be killed at any moment.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from riffusion.datasets.folder import DatasetRow
from riffusion.datasets.from_audio.captions import Caption, CaptionSource
from riffusion.datasets.from_audio.sources import Source
from riffusion.errors import InputError

RECORDS = ".build"
"""Folder of the records in the data set; hidden, so that the `datasets` library ignores it."""


class OutputError(InputError):
    """The data set can't be written. This ends the whole run."""


@dataclass(frozen=True)
class Job:
    """The work on one source, as sent to a worker process.

    Args:
        source: the recording.
        caption: its caption from metadata, if there is one.
        caption_source: where the caption comes from otherwise.
        directory: the data-set folder.
    """

    source: Source
    caption: Caption | None
    caption_source: CaptionSource
    directory: Path


@dataclass(frozen=True)
class Record:
    """The result of one source.

    Args:
        rows: one row per image.
        left_out: number of slices without an image, by reason.
        warnings: warnings about the file.
    """

    rows: tuple[DatasetRow, ...] = ()
    left_out: dict[str, int] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    def to_json(self) -> str:
        """The record as JSON; `from_json` is the inverse."""
        values = {
            "rows": [json.loads(row.to_json()) for row in self.rows],
            "left_out": self.left_out,
            "warnings": self.warnings,
        }
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
            return cls(rows, dict(values["left_out"]), tuple(values["warnings"]))
        except (KeyError, TypeError) as error:
            raise ValueError(f"not a record: {error}") from error


def record_path(directory: Path, source: Source) -> Path:
    """Path of a source's record."""
    return directory / RECORDS / f"{source.folder}.json"


def read_record(directory: Path, source: Source) -> Record | None:
    """A source's record; None if the source isn't finished or one of its images is missing."""
    try:
        record = Record.from_json(record_path(directory, source).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    images = (directory / source.split / row.file_name for row in record.rows)
    return record if all(image.is_file() for image in images) else None
