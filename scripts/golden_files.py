"""Golden files of the web app's tests: where they are, and how they are written."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

FOLDER = Path(__file__).parents[1] / "web" / "test" / "golden"


def base64_text(values: npt.NDArray[Any]) -> str:
    """The bytes of an array of any shape, row by row, in base64."""
    return base64.b64encode(np.ascontiguousarray(values).tobytes()).decode()


def write_json(path: Path, content: Any, indent: int | None = None) -> None:
    """Write a file as JSON with a line feed at its end, and print its size.

    Args:
        path: the file; its folder is made if it is missing.
        content: what `json.dumps` takes.
        indent: spaces per level; None writes everything on one line, without spaces.
    """
    separators = (",", ":") if indent is None else None
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=indent, separators=separators) + "\n", "utf-8")
    print(f"{path}: {path.stat().st_size} bytes")
