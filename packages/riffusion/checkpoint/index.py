"""The parts that a diffusers checkpoint names in its `model_index.json`. Nothing needs PyTorch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from riffusion.checkpoint.files import INDEX_NAME, read_json
from riffusion.checkpoint.source import CheckpointSource


def parts_of_index(index: Mapping[str, Any]) -> dict[str, str]:
    """Class names by part; parts that are null are left out."""
    return {
        name: entry[1]
        for name, entry in index.items()
        if isinstance(entry, list) and len(entry) == 2 and isinstance(entry[1], str)
    }


def is_unconditional(source: CheckpointSource) -> bool:
    """Whether a checkpoint has a UNet and no text encoder. Of a hub id, the index is downloaded.

    False where there is no index: loading the checkpoint then says what is wrong with it.

    Raises:
        CheckpointError: the index is damaged, or can't be downloaded.
    """
    if source.kind == "file":
        return False
    folder = Path(source.location)
    if source.kind == "hub":
        from riffusion.checkpoint.hub import fetch_index

        folder = fetch_index(source)
    if not (folder / INDEX_NAME).is_file():
        return False
    parts = parts_of_index(read_json(folder / INDEX_NAME))
    return "unet" in parts and "text_encoder" not in parts
