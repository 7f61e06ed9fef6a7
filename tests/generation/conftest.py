"""Unconditional checkpoints, each written once."""

from pathlib import Path
from typing import Any

import pytest

from tests.generation.unconditional_checkpoints import write_checkpoint
from tests.generation.unconditional_clips import Folders


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    """Checkpoints by their options, each written once."""
    written: dict[str, Path] = {}

    def folder(**options: Any) -> Path:
        key = str(sorted(options.items(), key=str))
        if key not in written:
            place = tmp_path_factory.mktemp("checkpoint") / "folder"
            written[key] = write_checkpoint(place, **options)
        return written[key]

    return folder
