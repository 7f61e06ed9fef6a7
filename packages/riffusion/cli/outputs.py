"""Output files: checked before the work, written whole or not at all after it."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from riffusion.errors import InputError

if TYPE_CHECKING:
    from PIL import Image
    from pydub import AudioSegment

    from riffusion.audio import Audio


def check_audio_output(path: Path) -> None:
    """Check that audio can be written to `path`, and make its folder.

    Raises:
        InputError: an unknown extension, a folder, or nothing can be written there.
    """
    from riffusion.audio import format_from_path

    _check_output(path, format_from_path)


def check_image_output(path: Path) -> None:
    """Check that an image can be written to `path`, and make its folder.

    Raises:
        InputError: an unknown extension, a folder, or nothing can be written there.
    """
    from riffusion.io.images import image_format_from_path

    _check_output(path, image_format_from_path)


def check_output_dir(directory: Path) -> None:
    """Make a folder, and check that files can be written to it.

    Raises:
        InputError: that isn't so.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory):
            pass
    except OSError as error:
        raise InputError(
            f"path={str(directory)!r} cannot be written to ({error.strerror}); "
            "choose another one, or change its permissions"
        ) from error


def write_segment(segment: "Audio | AudioSegment", path: Path) -> None:
    """Write audio in the format of the path's extension.

    Raises:
        InputError: an unknown extension, or the file can't be written.
    """
    from riffusion.audio import write_audio

    write_audio(segment, path)


def save_image(image: "Image.Image", path: Path) -> None:
    """Write an image in the format of the path's extension, its EXIF included.

    Raises:
        InputError: an unknown extension, or the file can't be written.
    """
    from riffusion.io.images import write_image

    write_image(image, path)


def path_with_seed(path: Path, seed: int) -> Path:
    """`out.mp3` as `out-42.mp3`."""
    return path.with_name(f"{path.stem}-{seed}{path.suffix}")


def _check_output(path: Path, check_extension: Callable[[Path], object]) -> None:
    if path.is_dir():
        raise InputError(f"path={str(path)!r} is a folder; name a file in it")
    check_extension(path)
    check_output_dir(path.parent)
