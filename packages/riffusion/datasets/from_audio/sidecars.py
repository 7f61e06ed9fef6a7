"""Captions in text files, as trainers have them: `a.txt` or `a.caption` beside `a.wav`."""

import unicodedata
from collections.abc import Iterable
from pathlib import Path

from riffusion.datasets.from_audio.captions import Caption, one_line
from riffusion.datasets.from_audio.sources import AudioFile
from riffusion.errors import InputError

SUFFIXES = (".txt", ".caption")
"""Extensions of such files, in upper or lower case; of two for one recording, the first counts."""
MAX_BYTES = 2**16
"""Largest text that can be a caption; a longer one is something else, such as a log."""


def find_sidecars(files: Iterable[AudioFile]) -> dict[str, Path]:
    """The text file beside each recording, by the recording's name.

    A text file is a recording's if its name is the same up to the extension, or the recording's
    whole name with an extension of its own. Hidden files aren't used.
    """
    by_folder: dict[Path, dict[str, Path]] = {}
    found = {}
    for file in files:
        folder = file.path.parent
        if folder not in by_folder:
            by_folder[folder] = _text_files(folder)
        texts = by_folder[folder]
        names = map(_normalized, (file.path.stem, file.path.name))
        path = next(
            (texts[name] for name in names if texts.get(name, file.path) != file.path), None
        )
        if path is not None:
            found[file.name] = path
    return found


def read_sidecar(path: Path) -> bytes:
    """Content of a text file with a caption.

    Raises:
        InputError: the file can't be read, is too long, or isn't UTF-8.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise _unusable(path, f"cannot be read ({error.strerror})", "check its permissions") from (
            error
        )
    if len(content) > MAX_BYTES:
        raise _unusable(path, f"is longer than {MAX_BYTES} bytes", "shorten it")
    try:
        content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _unusable(path, f"is not UTF-8 ({error})", "save it as UTF-8") from None
    return content


def caption_from_sidecar(content: bytes) -> Caption | None:
    """The whole text as one line; None if there is no text."""
    text = one_line(content.decode("utf-8-sig"))
    return Caption(text) if text else None


def _text_files(folder: Path) -> dict[str, Path]:
    """Text files of a folder by their normalized stem."""
    return {
        _normalized(path.stem): path
        for suffix in reversed(SUFFIXES)
        for path in sorted(folder.iterdir())
        if path.suffix.lower() == suffix and not path.name.startswith(".") and path.is_file()
    }


def _normalized(stem: str) -> str:
    """MacOS writes é as two characters where others write one."""
    return unicodedata.normalize("NFC", stem)


def _unusable(path: Path, what: str, remedy: str) -> InputError:
    return InputError(
        f"{str(path)!r} {what}; a text file with a recording's name holds its caption: {remedy}, "
        "or take captions from metadata, tags or names",
        field="caption_from",
    )
