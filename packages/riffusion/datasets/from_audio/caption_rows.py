"""Rows of a file of captions, JSON lines or CSV; a row that doesn't fit its columns is refused."""

import csv
import io
import json
from collections.abc import Iterator, Mapping
from typing import Any

from riffusion.errors import InputError

_CSV_REMEDY = (
    "save it with commas between columns, and with quotes around text that contains commas"
)


def caption_rows(name: str, content: bytes) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield each row's position, for messages, and its values by column.

    Args:
        name: the file's name; `.csv` means CSV, anything else JSON lines.
        content: its bytes.

    Raises:
        InputError: the file isn't UTF-8, or a row is malformed; the message names the line.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"captions={name} is not UTF-8 ({error}); save it as UTF-8") from None
    yield from (_csv_rows if name.lower().endswith(".csv") else _json_rows)(name, text)


def _csv_rows(name: str, text: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Rows of CSV, whose first row names the columns.

    The reader is strict, so it refuses a quote that isn't closed, and text behind a closing quote.
    Otherwise such a quote would silently swallow the rows up to the next one.
    """
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    columns: list[str] | None = None
    while True:
        where = f"captions={name}, line {reader.line_num + 1}"
        try:
            row = next(reader, None)
        except csv.Error as error:
            raise InputError(
                f"{where} is not CSV, perhaps for want of a closing quote ({error}); {_CSV_REMEDY}"
            ) from error
        if row is None:
            return
        if not any(cell.strip() for cell in row) and len(row) < 2:
            continue  # an empty line
        if columns is None:
            columns = row
            twice = next((column for column in row if column and row.count(column) > 1), None)
            if twice is not None:
                raise InputError(f"{where} names the column {twice!r} twice; rename one of them")
            continue
        if len(row) != len(columns):
            raise InputError(
                f"{where} has {len(row)} columns, but the first line names {len(columns)}; "
                f"{_CSV_REMEDY}"
            )
        yield where, dict(zip(columns, row, strict=True))


def _json_rows(name: str, text: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        where = f"captions={name}, line {number}"
        try:
            row = json.loads(line)
        except ValueError as error:
            raise InputError(f"{where} is not JSON ({error}); write one object per line") from error
        if not isinstance(row, dict):
            raise InputError(f"{where} is not a JSON object; write one with file_name and text")
        yield where, row
