"""Captions from metadata files, and from the names of files and folders."""

import csv
import io
import json
import os
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from riffusion.datasets.folder import INFO_NAME
from riffusion.errors import InputError

CaptionSource = Literal["auto", "metadata", "tags", "names"]

METADATA_NAMES = ("metadata.jsonl", "metadata.csv")
_TEXT_COLUMNS = ("text", "caption")


@dataclass(frozen=True)
class Caption:
    """What a recording is called.

    Args:
        text: the caption.
        others: more wordings of it.
        label: class for evaluation, if known.
        kind: `instrument`, `beat`, `mixture`, if known.
    """

    text: str
    others: tuple[str, ...] = ()
    label: str = ""
    kind: str = ""


@dataclass(frozen=True)
class MetadataFile:
    """A file of captions, read.

    Args:
        name: for messages.
        folder: that its file names are relative to, below the audio folder; empty for itself.
        content: its bytes.
    """

    name: str
    folder: str
    content: bytes


def find_metadata(audio_dir: Path, apart_from: Path) -> list[MetadataFile]:
    """Every metadata.jsonl and metadata.csv in a folder and below it, none in hidden folders.

    Args:
        audio_dir: where to look.
        apart_from: the data set that is being made; neither its own files count, nor those of
            any other data set of images.

    Raises:
        InputError: one can't be read.
    """
    outputs = os.path.realpath(apart_from)
    found = []
    for path in sorted(audio_dir.rglob("metadata.*")):
        name = path.relative_to(audio_dir)
        if (
            path.name in METADATA_NAMES
            and not any(part.startswith(".") for part in name.parts)
            # Unlike `Path.resolve`, `realpath` doesn't mind a link that points to itself.
            and not Path(os.path.realpath(path)).is_relative_to(outputs)
            and not (path.parents[1] / INFO_NAME).is_file()
        ):
            found.append(_read(path, name.as_posix(), name.parent))
    return found


def read_metadata_file(path: Path) -> MetadataFile:
    """A file of captions whose file names are relative to the audio folder.

    Raises:
        InputError: it can't be read.
    """
    return _read(path, str(path), Path())


def _read(path: Path, name: str, folder: Path) -> MetadataFile:
    try:
        return MetadataFile(name, folder.as_posix(), path.read_bytes())
    except OSError as error:
        raise InputError(
            f"{str(path)!r} cannot be read ({error.strerror}); name a .jsonl or .csv file",
            field="captions",
        ) from error


def match_captions(
    files: Sequence[MetadataFile], names: Iterable[str]
) -> tuple[dict[str, Caption], list[str]]:
    """Captions by the names of the recordings.

    Args:
        files: of captions, with the columns file_name, text or caption, and perhaps captions (in
            JSON: a list of wordings), label and kind, as Hugging Face's "audiofolder" has them.
        names: of the recordings, below the audio folder.

    Returns:
        Captions by recording, and the file names in the metadata that no recording has.

    Raises:
        InputError: a line is malformed, a recording is named twice, or not one row matches.
    """
    by_key = {_key(name): name for name in names}
    matched: dict[str, Caption] = {}
    unmatched = []
    for file in files:
        for where, row in _rows(file):
            listed, caption = _caption(where, row)
            name = by_key.get(_key(str(PurePosixPath(file.folder, listed))))
            if name is None:
                unmatched.append(listed)
            elif name in matched:
                raise InputError(f"{where}: file_name={listed!r} is there twice; keep one row")
            else:
                matched[name] = caption
    if unmatched and not matched:
        listing = ", ".join(file.name for file in files)
        raise InputError(
            f"captions={listing}: no row matches a file of the folder, for instance "
            f"file_name={unmatched[0]!r}; paths relative to the folder are needed"
        )
    return matched, unmatched


def _key(name: str) -> str:
    """Without the difference between é as one character and as two, which macOS makes of it."""
    return unicodedata.normalize("NFC", PurePosixPath(name.replace("\\", "/")).as_posix())


def _rows(file: MetadataFile) -> Iterable[tuple[str, Mapping[str, Any]]]:
    """Where each row stands, and its columns."""
    try:
        text = file.content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"captions={file.name} is not UTF-8 ({error}); save it as UTF-8") from None
    if file.name.lower().endswith(".csv"):
        reader = csv.DictReader(io.StringIO(text, newline=""))
        try:
            for row in reader:
                yield f"captions={file.name}, line {reader.line_num}", row
        except csv.Error as error:
            raise InputError(
                f"captions={file.name}, line {reader.line_num} is not CSV ({error}); save it with "
                "commas between columns, and quotes around text that holds commas"
            ) from error
        return
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        where = f"captions={file.name}, line {number}"
        try:
            row = json.loads(line)
        except ValueError as error:
            raise InputError(
                f"{where} is not JSON ({error}); one object a line is needed"
            ) from error
        if not isinstance(row, dict):
            raise InputError(f"{where} is not a JSON object; one with file_name and text is needed")
        yield where, row


def _caption(where: str, row: Mapping[str, Any]) -> tuple[str, Caption]:
    """File name and caption of a row."""
    listed = row.get("file_name")
    if not isinstance(listed, str) or not listed:
        raise InputError(f"{where} has no file_name; file_name and text are needed")
    captions = row.get("captions") or []
    if not isinstance(captions, list) or not all(isinstance(item, str) for item in captions):
        raise InputError(f"{where}: captions={captions!r} must be a list of strings")
    texts = [row[name] for name in _TEXT_COLUMNS if row.get(name) is not None] or captions[:1]
    if not texts:
        raise InputError(f"{where} has no text; a column text or caption is needed")
    values = {"text": texts[0], "label": row.get("label"), "kind": row.get("kind")}
    for name, value in values.items():
        if value is not None and not isinstance(value, str):
            raise InputError(f"{where}: {name}={value!r} must be a string")
    text, label, kind = (one_line(values[name] or "") for name in ("text", "label", "kind"))
    others = tuple(dict.fromkeys(item for item in map(one_line, captions) if item != text))
    return listed, Caption(text, others, label, kind)


def caption_from_name(name: str) -> Caption | None:
    """`drums/01_slow-rock.mp3` → `slow rock, drums`; None if nothing but numbers is left.

    Track numbers in front go; of the folders, the innermost with a word in it counts.

    Args:
        name: path below the audio folder.
    """
    *folders, stem = PurePosixPath(one_line(name)).with_suffix("").parts
    own = _words(stem)
    folder = next((words for words in map(_words, reversed(folders)) if words), "")
    if f" {folder} ".lower() in f" {own} ".lower():
        folder = ""
    text = ", ".join(part for part in (own, folder) if part)
    return Caption(text) if text else None


def _words(name: str) -> str:
    """Words of a file's or folder's name, without numbers in front."""
    words = [word for word in re.split(r"[\s_.,;()\[\]{}-]+", name) if word]
    while words and not any(character.isalpha() for character in words[0]):
        words.pop(0)
    return " ".join(words)


def one_line(text: str) -> str:
    """`text` in UTF-8, `?` for what isn't, with every run of white space as one blank."""
    return " ".join(text.encode(errors="replace").decode().split())
