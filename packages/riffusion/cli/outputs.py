"""Output files: checked before the work begins, and written whole or not at all."""

import hashlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from riffusion.errors import InputError

if TYPE_CHECKING:
    from PIL import Image
    from pydub import AudioSegment

    from riffusion.audio import Audio

MAX_NAME_BYTES = 255
"""Longest file name on the usual file systems."""


def check_audio_output(path: Path) -> None:
    """Check that audio can be written to `path`, and create its folder.

    Raises:
        InputError: the extension is unknown, `path` is a folder, or its folder is not writable.
    """
    from riffusion.audio import format_from_path

    _check_output(path, format_from_path)


def check_image_output(path: Path) -> None:
    """Check that an image can be written to `path`, and create its folder.

    Raises:
        InputError: the extension is unknown, `path` is a folder, or its folder is not writable.
    """
    from riffusion.io.images import image_format_from_path

    _check_output(path, image_format_from_path)


def check_output_dir(directory: Path) -> None:
    """Create a folder if it does not exist, and check that files can be written to it.

    Raises:
        InputError: the folder cannot be created or is not writable.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory):
            pass
    except OSError as error:
        raise InputError(
            f"path={str(directory)!r} cannot be written to ({error.strerror}); "
            "choose another folder, or change its permissions"
        ) from error


def write_segment(segment: "Audio | AudioSegment", path: Path) -> None:
    """Write audio in the format that the path's extension names.

    Raises:
        InputError: the extension is unknown, or the file can't be written.
    """
    from riffusion.audio import write_audio

    write_audio(segment, path)


def save_image(image: "Image.Image", path: Path) -> None:
    """Write an image, with its EXIF, in the format that the path's extension names.

    Raises:
        InputError: the extension is unknown, or the file can't be written.
    """
    from riffusion.io.images import write_image

    write_image(image, path)


def path_with_seed(path: Path, seed: int) -> Path:
    """`path` with the seed in its name: `out.mp3` becomes `out-42.mp3`."""
    return path.with_name(short_name(path.stem, f"-{seed}{path.suffix}"))


def short_name(stem: str, ending: str, unique: str = "") -> str:
    """`stem + ending`, with the end of the stem replaced by a hash if file systems refuse the name.

    Args:
        stem: the part that can be shortened.
        ending: the part that is kept, such as `_0.mp3`.
        unique: what the hash is made from, for stems that may be equal; default: the stem.
    """
    room = MAX_NAME_BYTES - len(os.fsencode(ending))
    if len(os.fsencode(stem)) <= room:
        return stem + ending
    mark = "-" + hashlib.sha256(os.fsencode(unique or stem)).hexdigest()[:10]
    kept = stem
    while kept and len(os.fsencode(kept + mark)) > room:
        kept = kept[:-1]
    return kept + mark + ending


def _check_output(path: Path, check_extension: Callable[[Path], object]) -> None:
    if path.is_dir():
        raise InputError(f"path={str(path)!r} is a folder; name a file")
    check_extension(path)
    check_output_dir(path.parent)
