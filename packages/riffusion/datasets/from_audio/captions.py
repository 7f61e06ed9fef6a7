"""Captions from metadata files, and from the names of files and folders."""

import os
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from riffusion.datasets.folder import INFO_NAME
from riffusion.datasets.from_audio.caption_rows import caption_rows
from riffusion.errors import InputError
from riffusion.io.folders import linked_files

CaptionSource = Literal["auto", "metadata", "sidecars", "tags", "names"]

METADATA_NAMES = ("metadata.jsonl", "metadata.csv", "metadata.tsv")
_TEXT_COLUMNS = ("text", "caption")


@dataclass(frozen=True)
class Caption:
    """The caption of a recording.

    Args:
        text: the caption.
        alternatives: further captions of the same recording.
        label: class for evaluation, if known.
        kind: `instrument`, `beat` or `mixture`, if known.
    """

    text: str
    alternatives: tuple[str, ...] = ()
    label: str = ""
    kind: str = ""


@dataclass(frozen=True)
class MetadataFile:
    """The content of a file of captions.

    Args:
        name: its name, for messages.
        folder: the folder that its file names are relative to, itself relative to the audio folder;
            `.` is the audio folder.
        content: its bytes.
    """

    name: str
    folder: str
    content: bytes


def find_metadata(audio_dir: Path, output: Path) -> list[MetadataFile]:
    """Every file of captions in a folder and its subfolders, except hidden ones.

    Its name is one of `METADATA_NAMES`, in upper or lower case. Subfolders include folders that are
    linked there.

    Args:
        audio_dir: the folder to search.
        output: the data set that is being built. Its metadata files, and those of any other data
            set of images, are skipped.

    Raises:
        InputError: a file can't be read.
    """
    output_path = os.path.realpath(output)
    found = []
    for path in sorted({*audio_dir.rglob("*.*"), *linked_files(audio_dir)}):
        name = path.relative_to(audio_dir)
        if (
            path.name.lower() in METADATA_NAMES
            and not any(part.startswith(".") for part in name.parts)
            # Unlike `Path.resolve`, `realpath` accepts a link that points to itself.
            and not Path(os.path.realpath(path)).is_relative_to(output_path)
            and not (path.parents[1] / INFO_NAME).is_file()
        ):
            found.append(_read(path, name.as_posix(), name.parent))
    return found


def read_metadata_file(path: Path) -> MetadataFile:
    """Read a file of captions whose file names are relative to the audio folder.

    Raises:
        InputError: the file can't be read.
    """
    return _read(path, str(path), Path())


def _read(path: Path, name: str, folder: Path) -> MetadataFile:
    try:
        return MetadataFile(name, folder.as_posix(), path.read_bytes())
    except OSError as error:
        raise InputError(
            f"{str(path)!r} cannot be read ({error.strerror}); name a .jsonl, .csv or .tsv file",
            field="captions",
        ) from error


def match_captions(
    files: Sequence[MetadataFile], names: Iterable[str]
) -> tuple[dict[str, Caption], list[str]]:
    """Match captions with recordings.

    Args:
        files: files of captions in the layout of Hugging Face's "audiofolder": columns file_name,
            text or caption, and optionally captions (in JSON: a list of alternatives), label and
            kind.
        names: paths of the recordings, relative to the audio folder.

    Returns:
        Captions by recording, and the file names in the metadata that match no recording.

    Raises:
        InputError: a line is malformed, a recording is listed twice, or no row matches.
    """
    by_key = {_key(name): name for name in names}
    matched: dict[str, Caption] = {}
    unmatched = []
    for file in files:
        for where, row in caption_rows(file.name, file.content):
            listed, caption = _caption(where, row)
            _check_no_row_inside(where, row, by_key)
            name = by_key.get(_key(str(PurePosixPath(file.folder, listed))))
            if name is None:
                unmatched.append(listed)
            elif name in matched:
                raise InputError(f"{where}: file_name={listed!r} is listed twice; keep one row")
            else:
                matched[name] = caption
    if unmatched and not matched:
        listing = ", ".join(file.name for file in files)
        raise InputError(
            f"captions={listing}: no row matches a file of the folder, for instance "
            f"file_name={unmatched[0]!r}; use paths relative to the folder"
        )
    return matched, unmatched


def _check_no_row_inside(where: str, row: Mapping[str, Any], by_key: Mapping[str, str]) -> None:
    """Refuse a text that contains further rows, since its closing quote is at a later row's end."""
    for value in row.values():
        for line in value.splitlines()[1:] if isinstance(value, str) else ():
            start = re.split(r"[,;\t]", line.strip().lstrip('"'))[0]
            if _key(start) in by_key and start != line.strip():
                raise InputError(
                    f"{where} has a text that contains the row of {start!r}; "
                    "add the closing quote that is missing before it"
                )


def _key(name: str) -> str:
    """Normalized path: macOS writes é as two characters where others write one."""
    return unicodedata.normalize("NFC", PurePosixPath(name.replace("\\", "/")).as_posix())


def _caption(where: str, row: Mapping[str, Any]) -> tuple[str, Caption]:
    """File name and caption of a row."""
    listed = row.get("file_name")
    if not isinstance(listed, str) or not listed:
        raise InputError(f"{where} has no file_name; file_name and text are required")
    captions = row.get("captions") or []
    if not isinstance(captions, list) or not all(isinstance(item, str) for item in captions):
        raise InputError(f"{where}: captions={captions!r} must be a list of strings")
    texts = [row[name] for name in _TEXT_COLUMNS if row.get(name) is not None] or captions[:1]
    if not texts:
        raise InputError(f"{where} has no text; a column text or caption is required")
    values = {"text": texts[0], "label": row.get("label"), "kind": row.get("kind")}
    for name, value in values.items():
        if value is not None and not isinstance(value, str):
            raise InputError(f"{where}: {name}={value!r} must be a string")
    text, label, kind = (one_line(values[name] or "") for name in ("text", "label", "kind"))
    alternatives = tuple(dict.fromkeys(item for item in map(one_line, captions) if item != text))
    return listed, Caption(text, alternatives, label, kind)


def caption_from_name(name: str) -> Caption | None:
    """Caption from a file's path: `drums/01_slow-rock.mp3` → `slow rock, drums`.

    Leading track numbers are dropped; the innermost folder whose name contains a word is appended.

    Args:
        name: path relative to the audio folder.

    Returns:
        None if the path contains only numbers.
    """
    *folders, stem = PurePosixPath(one_line(name)).with_suffix("").parts
    own = _words(stem)
    folder = next((words for words in map(_words, reversed(folders)) if words), "")
    if f" {folder} ".lower() in f" {own} ".lower():
        folder = ""
    text = ", ".join(part for part in (own, folder) if part)
    return Caption(text) if text else None


def _words(name: str) -> str:
    """The words of a file or folder name, without leading numbers."""
    words = [word for word in re.split(r"[\s_.,;()\[\]{}-]+", name) if word]
    while words and not any(character.isalpha() for character in words[0]):
        words.pop(0)
    return " ".join(words)


def one_line(text: str) -> str:
    """`text` with every run of white space as one space, and `?` for what UTF-8 can't encode."""
    return " ".join(text.encode(errors="replace").decode().split())
