"""The folder with the LoRAs that requests to a server can name, by id."""

import os
from pathlib import Path

from riffusion.errors import InputError

LORA_FOLDER = "RIFFUSION_LORAS"
"""Environment variable with the folder that a server's operator names."""
_FIELD = "loras"


def loras_from_environment() -> dict[str, Path]:
    """The LoRAs in the folder that `RIFFUSION_LORAS` names, by id; none if it isn't set.

    Raises:
        InputError: it isn't a folder, or can't be listed.
    """
    name = os.environ.get(LORA_FOLDER)
    return loras_in_folder(Path(name)) if name else {}


def loras_in_folder(folder: Path) -> dict[str, Path]:
    """The LoRAs in a folder by id: the name of a file without its extension, or of a folder.

    Args:
        folder: it is listed once; what it holds isn't read yet. Where two have the same id,
            safetensors come first, and files before folders.

    Raises:
        InputError: it isn't a folder, or can't be listed.
    """
    from riffusion.checkpoint.lora import FILE_SUFFIXES  # which imports torch

    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise InputError(
            f"{str(folder)!r} can't be listed ({error.strerror}); name a folder with LoRAs", _FIELD
        ) from error
    found: dict[str, Path] = {}
    for suffix in FILE_SUFFIXES:
        for path in entries:
            if path.suffix == suffix and path.is_file():
                found.setdefault(path.stem, path)
    for path in entries:
        if path.is_dir() and _has_lora(path):
            found.setdefault(path.name, path)
    return found


def _has_lora(folder: Path) -> bool:
    from riffusion.checkpoint.lora import lora_file

    try:
        lora_file(folder)
    except InputError:
        return False
    return True
