"""Writes tensors as safetensors, atomically."""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from riffusion.errors import InputError


def write_tensors(
    tensors: Mapping[str, torch.Tensor],
    path: Path,
    what: str,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write tensors under a temporary name, then rename the file.

    Args:
        tensors: contiguous tensors by name.
        path: replaced if it exists; its folder must exist.
        what: name of the path in the error message, such as `cache`.
        metadata: strings for the file's header.

    Raises:
        InputError: the file can't be written, for example because the disk is full.
    """
    temporary = path.with_suffix(".tmp")
    try:
        save_file(dict(tensors), temporary, metadata=None if metadata is None else dict(metadata))
        temporary.replace(path)
    except (OSError, SafetensorError) as error:  # SafetensorError: the disk is full
        temporary.unlink(missing_ok=True)
        raise InputError(
            f"{what}={str(path)!r} cannot be written ({error}); make room there"
        ) from error
