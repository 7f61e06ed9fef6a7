"""Decoded media of a request. This module imports nothing heavy, so that commands start quickly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image
    from pydub import AudioSegment


@dataclass(frozen=True)
class Media:
    """Decoded media that take the place of a request's fields of the same names."""

    init_image: Image.Image | None = None
    init_audio: AudioSegment | None = None
    mask_image: Image.Image | None = None
