"""What the web page's images of recordings are compared with is what Python gives."""

import base64
import json

import numpy as np

from scripts.write_recording_golden import GOLDEN, golden

ROUNDING = 1
"""Grey levels: processors round sums in different orders."""
MOST_ROUNDED = 0.002


def test_the_file_is_what_python_gives() -> None:
    """Parameters and EXIF exactly, pixels but for rounding."""
    kept, made = json.loads(GOLDEN.read_text()), golden()
    pixels = [base64.b64decode(each.pop("pixels")) for each in (kept, made)]
    levels = np.array([np.frombuffer(each, np.uint8) for each in pixels], int)
    differences = np.abs(np.diff(levels, axis=0))
    assert differences.max() <= ROUNDING
    assert (differences > 0).mean() < MOST_ROUNDED
    assert kept == made
