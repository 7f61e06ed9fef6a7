"""The error message of a checkpoint that can't be loaded."""

from pathlib import Path

import pytest

from riffusion.checkpoint.loader import load_components
from riffusion.errors import CheckpointError


def refused(source: Path) -> str:
    """Load a checkpoint that must fail, and return the one-line message, which names `source`."""
    with pytest.raises(CheckpointError) as refusal:
        load_components(str(source), device="cpu")
    message = str(refusal.value)
    assert "\n" not in message
    assert str(source) in message
    return message
