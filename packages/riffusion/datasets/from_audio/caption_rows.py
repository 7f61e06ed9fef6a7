"""Rows of a file of captions, JSON lines or a table; a row that doesn't fit is refused."""

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from riffusion.errors import InputError

FILE_NAME = "file_name"
"""The column that names the recording."""
_CSV_REMEDY = (
    "save it with commas between columns, and with quotes around text that contains commas"
)
_TABLES = {".csv": ",", ".tsv": "\t"}
"""Extensions of tables, and what is between their columns if the first line doesn't tell."""
_DELIMITERS = (",", ";", "\t")
_DELIMITER_LINE = re.compile(r"\s*sep=(.)\s*(\r\n|\n|\r)")
"""The line by which a table tells Excel what is between its columns."""


def caption_rows(name: str, content: bytes) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield each row's position, for messages, and its values by column.

    Args:
        name: the file's name; `.csv` and `.tsv` mean a table whose first row names the columns,
            with commas, semicolons or tabs between them; anything else means JSON lines.
        content: its bytes.

    Raises:
        InputError: the file isn't UTF-8, or a row is malformed; the message names the line.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"captions={name} is not UTF-8 ({error}); save it as UTF-8") from None
    extension = name[name.rfind(".") :].lower()
    if extension not in _TABLES:
        yield from _json_rows(name, text)
        return
    stated = _DELIMITER_LINE.match(text)
    if stated:
        yield from _table_rows(name, text[stated.end() :], stated[1], 1)
    else:
        yield from _table_rows(name, text, _delimiter(text, _TABLES[extension]), 0)


def _delimiter(text: str, default: str) -> str:
    """What is between the columns of a table: that which separates `file_name` from another."""
    first = next((line for line in text.splitlines() if line.strip()), "")
    for delimiter in _DELIMITERS:
        columns = [column.strip(' "').lower() for column in first.split(delimiter)]
        if len(columns) > 1 and FILE_NAME in columns:
            return delimiter
    return default


def _table_rows(
    name: str, text: str, delimiter: str, num_lines_before: int
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Rows of a table, whose first row names the columns, in upper or lower case.

    The reader is strict, so it refuses a quote that isn't closed, and text behind a closing quote.
    Otherwise such a quote would silently swallow the rows up to the next one.
    """
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    columns: list[str] | None = None
    while True:
        where = f"captions={name}, line {reader.line_num + 1 + num_lines_before}"
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
            columns = [column.strip().lower() for column in row]
            twice = next((column for column in columns if column and columns.count(column) > 1), "")
            if twice:
                raise InputError(f"{where} names the column {twice!r} twice; rename one of them")
            if FILE_NAME not in columns:
                raise InputError(
                    f"{where} names the columns {', '.join(row)[:200]!r}, without file_name; "
                    "file_name and text are required, with commas between columns"
                )
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
        except (ValueError, RecursionError) as error:
            raise InputError(f"{where} is not JSON ({error}); write one object per line") from error
        if not isinstance(row, dict):
            raise InputError(f"{where} is not a JSON object; write one with file_name and text")
        yield where, row
