"""Output files: checked before the work begins, and written whole or not at all."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from riffusion.errors import InputError
from riffusion.io.files import short_name

if TYPE_CHECKING:
    from PIL import Image
    from pydub import AudioSegment

    from riffusion.audio import Audio


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


def checked_extension(extension: str) -> str:
    """`extension` without a leading dot.

    Raises:
        InputError: no audio format has this extension.
    """
    from riffusion.audio import format_from_path

    bare = extension.removeprefix(".")
    name = Path(f"clip.{bare}")
    try:
        if name.suffix != f".{bare}":
            raise InputError("this is more than an extension")
        format_from_path(name)
    except InputError:
        raise InputError(
            f"{extension!r} is unknown; use one of mp3, wav, flac, ogg, m4a", field="extension"
        ) from None
    return bare


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


def _check_output(path: Path, check_extension: Callable[[Path], object]) -> None:
    if path.is_dir():
        raise InputError(f"path={str(path)!r} is a folder; name a file")
    check_extension(path)
    check_output_dir(path.parent)
