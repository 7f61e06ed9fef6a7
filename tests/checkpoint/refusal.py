"""What loading a checkpoint is refused with."""

from pathlib import Path

import pytest

from riffusion.checkpoint.loader import load_components
from riffusion.errors import CheckpointError


def refused(source: Path) -> str:
    """The one-line message that loading is refused with; it names what was asked for."""
    with pytest.raises(CheckpointError) as refusal:
        load_components(str(source), device="cpu")
    message = str(refusal.value)
    assert "\n" not in message
    assert str(source) in message
    return message
