"""What is to be done about a source, and what came of it.

A record is written after all images of a source, and a source without one starts anew from an
empty folder, so that a run can be killed at any moment.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from riffusion.datasets.build.captions import Caption, CaptionSource
from riffusion.datasets.build.sources import Source
from riffusion.datasets.folder import DatasetRow
from riffusion.errors import InputError

RECORDS = ".build"
"""Folder of the records in the data set; hidden, so that `datasets` passes it over."""


class OutputError(InputError):
    """The data set can't be written, which ends the whole run."""


@dataclass(frozen=True)
class Job:
    """A source, and what a process needs to know besides.

    Args:
        source: the recording.
        caption: from metadata, if there is one.
        caption_source: where it comes from else.
        directory: of the data set.
    """

    source: Source
    caption: Caption | None
    caption_source: CaptionSource
    directory: Path


@dataclass(frozen=True)
class Record:
    """What a source became.

    Args:
        rows: its images.
        left_out: slices without an image, by reason.
        warnings: about the file.
    """

    rows: tuple[DatasetRow, ...] = ()
    left_out: dict[str, int] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    def to_json(self) -> str:
        """`from_json` is the inverse."""
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
            ValueError: it is damaged.
        """
        try:
            values = json.loads(text)
            rows = tuple(DatasetRow.from_json(json.dumps(row)) for row in values["rows"])
            return cls(rows, dict(values["left_out"]), tuple(values["warnings"]))
        except (KeyError, TypeError) as error:
            raise ValueError(f"no record: {error}") from error


def record_path(directory: Path, source: Source) -> Path:
    """Where a source's record lies once it is done."""
    return directory / RECORDS / f"{source.folder}.json"


def read_record(directory: Path, source: Source) -> Record | None:
    """A source's record; None if it isn't done, or an image of it is gone."""
    try:
        record = Record.from_json(record_path(directory, source).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    images = (directory / source.split / row.file_name for row in record.rows)
    return record if all(image.is_file() for image in images) else None
