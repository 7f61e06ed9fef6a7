"""For upstream's scripts: base64 of a buffer."""

import base64
import io


def encode(buffer: io.BytesIO) -> str:
    """All of a buffer's bytes as base64, in one line (upstream's has line breaks)."""
    return base64.b64encode(buffer.getvalue()).decode("ascii")
